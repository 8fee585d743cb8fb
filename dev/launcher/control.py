"""Breaks parts of the system of `make up` for the page *Break it yourself*, and brings them back (decision 0057).

Requests come from the thread of `control_server`; the launcher's own thread acts, because a `Stack` is not thread-safe. One break
at a time, `PAUSE_SECONDS` between two, and only what `breaks.PARTS` names.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from dev.embedded import ServerFailed
from dev.launcher import breaks
from dev.launcher.replica import Log
from dev.launcher.stack import LAUNCHER, Stack
from dev.subprocesses import Flag

PAUSE_SECONDS = 3.0
"""Between the return of one part and the next break."""
KEPT = 20
"""Breaks that are remembered."""
ACT_SECONDS = 8.0
"""How long a request waits until the launcher has acted."""
PAUSE_MS = "100"
"""Pause between two writes of 100 rows in slow motion: a job lasts long enough to be disturbed."""
SLOW_SECONDS = 180.0
"""Time after the last request for slow motion, or the last break, until slow motion ends."""
STOP_CHECK_SECONDS = 0.1


@dataclass(slots=True, kw_only=True)
class Break:
    """A part that was broken while a job ran."""

    part: str
    job_id: str
    break_id: str = field(default_factory=lambda: secrets.token_hex(8))
    broken_at: float = 0.0
    """Monotonic seconds."""
    is_back: bool = False
    seconds: float | None = None
    """From the fault to the first progress after it."""
    has_failed: threading.Event = field(default_factory=threading.Event)

    def view(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "break_id": self.break_id,
            "part": self.part,
            "job_id": self.job_id,
            "elapsed_seconds": time.monotonic() - self.broken_at,
            "is_back": self.is_back,
            "seconds": self.seconds,
        }


class RequestRefused(Exception):
    """A request is refused with an HTTP status and a code."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Control:
    """The requests, and their execution by the launcher's thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._breaks: deque[Break] = deque(maxlen=KEPT)
        self._broken: Break | None = None
        self._next_at = 0.0
        self._slow_until = 0.0
        self._is_slow = False
        self._own_pause_ms = "0"
        """The pause that the workers had before slow motion."""

    def close(self) -> None:
        """End the wait of a pending request: the launcher stops."""
        with self._lock:
            if self._broken is not None:
                self._broken.has_failed.set()

    # --- requests ---

    def recent(self) -> list[dict[str, Any]]:
        """Return the remembered breaks, the newest first."""
        with self._lock:
            return [each.view() for each in reversed(self._breaks) if each.broken_at]

    def break_part(self, part: str, job_id: str) -> dict[str, Any]:
        """Break a part, and return when it is dead. Raises `RequestRefused`."""
        if part not in breaks.PARTS:
            raise RequestRefused(HTTPStatus.UNPROCESSABLE_ENTITY, "part_unknown")
        with self._lock:
            if self._broken is not None:
                raise RequestRefused(HTTPStatus.CONFLICT, "break_running")
            if time.monotonic() < self._next_at:
                raise RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, "break_too_soon")
            part_break = self._broken = Break(part=part, job_id=job_id)
            self._breaks.append(part_break)
            if self._is_slow:
                self._slow_until = time.monotonic() + SLOW_SECONDS
            self._wake.notify_all()
        if not part_break.has_failed.wait(ACT_SECONDS):
            raise RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "launcher_busy")
        return part_break.view()

    def note_progress(self, break_id: str) -> None:
        """Note that the job of a break has made progress. Raises `RequestRefused`."""
        with self._lock:
            for each in self._breaks:
                if each.break_id == break_id:
                    each.seconds = each.seconds or time.monotonic() - each.broken_at
                    return
        raise RequestRefused(HTTPStatus.NOT_FOUND, "break_unknown")

    def slow_down(self) -> None:
        """Let demo workers write slowly for a while. Return when they were started again. Raises `RequestRefused`."""
        deadline = time.monotonic() + ACT_SECONDS
        with self._lock:
            self._slow_until = time.monotonic() + SLOW_SECONDS
            self._wake.notify_all()
            while not self._is_slow:
                if not self._wake.wait(deadline - time.monotonic()):
                    raise RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "launcher_busy")

    def speed_up(self) -> None:
        """Let demo workers write at their own speed again."""
        with self._lock:
            self._slow_until = 0.0

    # --- the launcher's thread ---

    def is_settled(self) -> bool:
        """Return whether all parts run again, at their own speed."""
        with self._lock:
            return self._broken is None and not self._is_slow

    def run_pending(self, stack: Stack, stop_requested: Flag, *, seconds: float) -> None:
        """Execute the pending requests; wait `seconds` for one at most."""
        with self._lock:
            if self._broken is None and self._is_slow == self._should_be_slow():
                self._wake.wait(seconds)
            broken, slow = self._broken, self._should_be_slow()
        if broken is not None:
            self._break(stack, broken, stop_requested)
        elif slow != self._is_slow:
            self._change_speed(stack, is_slow=slow)

    def _break(self, stack: Stack, broken: Break, stop_requested: Flag) -> None:
        part = breaks.PARTS[broken.part]
        if not broken.has_failed.is_set():
            self._log(LAUNCHER, f"break it yourself: {part.title}")
            broken.broken_at = time.monotonic()
            part.fail(stack)
            broken.has_failed.set()
            _pause(part.away_seconds, stop_requested)
        if stop_requested.is_set():
            return
        try:
            part.recover(stack)
        except ServerFailed as error:
            self._log(LAUNCHER, f"{error}; trying again")
            _pause(1.0, stop_requested)
            return
        self._log(LAUNCHER, f"break it yourself: {broken.part} is started again")
        with self._lock:
            broken.is_back, self._broken = True, None
            self._next_at = time.monotonic() + PAUSE_SECONDS

    def _should_be_slow(self) -> bool:
        return time.monotonic() < self._slow_until

    def _change_speed(self, stack: Stack, *, is_slow: bool) -> None:
        now = stack.environment(breaks.WORKER).get("DEMO_BATCH_PAUSE_MS") or "0"
        if is_slow:
            self._own_pause_ms = now
        pause = max(self._own_pause_ms, PAUSE_MS, key=int) if is_slow else self._own_pause_ms
        if pause != now:
            stack.restart(breaks.WORKER, env={"DEMO_BATCH_PAUSE_MS": pause})
        with self._lock:
            self._is_slow = is_slow
            self._wake.notify_all()


def _pause(seconds: float, stop_requested: Flag) -> None:
    deadline = time.monotonic() + seconds
    while not stop_requested.is_set() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, STOP_CHECK_SECONDS))
