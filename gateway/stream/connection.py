"""One open stream: a bounded queue between the feed that fills it and the socket that empties it."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chassis import errors
from gateway import metrics
from gateway.identity import sessions
from gateway.stream import frames, line

logger = logging.getLogger(__name__)

PING_SECONDS = 15.0
MAX_AGE_SECONDS = 600.0
MAX_TRANSITIONS = 256
MAX_PROGRESS = 128
RECHECK_SECONDS = 5.0
SEND_TIMEOUT = 5.0
"""How long a reader may take nothing at all."""
RETRY_MS = (1_000, 3_000)
CROWDED_RETRY_MS = (30_000, 60_000)
"""For a reader who has made room for newer streams of the same user: they would throw each other out for ever."""

CONFIRM_SECONDS = 60.0
"""How long a stream's session is believed to live while revocations are heard."""
REFRESHED = "refreshed"
"""The session goes on under a new token: come again with that."""
TOO_MANY = "too_many_streams"
STALLED = "stalled"
DISCONNECTED = "disconnected"
FINISHED = "finished"
SESSION_ENDED = frozenset({"session_expired", REFRESHED})
_SILENT = frozenset({DISCONNECTED, FINISHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a feed tells: a job's transition (it has a sequence), its progress, demo mode, or a connection to a platform."""

    event: str
    data: bytes
    version: int
    sequence: int = 0
    job_id: str = ""
    platform: str = ""
    is_final: bool = False

    @property
    def key(self) -> str:
        """Frames with the same key replace each other while they wait."""
        return f"#{self.sequence}" if self.sequence else f"{self.event} {self.job_id or self.platform}"


class Connection:
    """One open stream of a session. It has no task of its own: what is told is written at once, the rest is a timer."""

    __slots__ = (
        "_check_at",
        "_checking",
        "_closing",
        "_confirmed_at",
        "_ends_at",
        "_has_ended",
        "_line",
        "_ping_at",
        "_queue",
        "_stuck_at",
        "_timer",
        "_validator",
        "_waiting_transitions",
        "_was_refreshed",
        "job_id",
        "max_age",
        "on_end",
        "opening",
        "session",
    )

    def __init__(self, session: sessions.Session, validator: sessions.Sessions, *, job_id: str = "") -> None:
        """`job_id` narrows the stream to one job; it ends when that job does."""
        self.session = session
        self.job_id = job_id
        self.max_age = MAX_AGE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
        self.opening = b""
        """What is sent before everything that is told."""
        self.on_end: Callable[[], None] = _nothing
        """Called once, when the reader is gone."""
        self._validator = validator
        self._queue: dict[str, Frame] = {}
        self._waiting_transitions = 0
        self._line: line.Sink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._checking: asyncio.Task[None] | None = None
        self._closing = ""
        self._has_ended = False
        self._was_refreshed = False
        now = _now()
        self._ends_at = now + self.max_age
        self._ping_at = now + _until_ping()
        self._check_at = now + _seconds_left(session)
        self._confirmed_at = now
        self._stuck_at = math.inf

    @property
    def close_reason(self) -> str:
        """Why it ends; empty while it is meant to go on."""
        return self._closing

    @property
    def is_started(self) -> bool:
        """Whether it has a socket."""
        return self._line is not None

    @property
    def is_slow(self) -> bool:
        """Whether its reader takes no more at the moment."""
        return self._line is not None and self._line.is_full

    @property
    def waiting(self) -> int:
        """How many frames wait for it."""
        return len(self._queue)

    def tell(self, frame: Frame) -> None:
        """Send a frame, or queue it for a reader who is slow: there progress and snapshots replace older ones.

        A reader too slow for the rest is cut off.
        """
        if self._closing or (self.job_id and frame.job_id != self.job_id):
            return
        if frame.sequence:
            self._forget_older(frame)
            self._waiting_transitions += 1
        elif (waiting := self._queue.get(frame.key)) is not None:
            if waiting.version >= frame.version:
                return
            metrics.STREAM_COALESCED.inc()
        elif frame.job_id and len(self._queue) - self._waiting_transitions >= MAX_PROGRESS:
            return
        self._queue[frame.key] = frame
        if self._waiting_transitions > MAX_TRANSITIONS:
            self.restart("too_slow", frame.sequence)
            self.close("too_slow")
        elif self.job_id and frame.is_final:
            self.close(FINISHED)
        else:
            self._flush()

    def restart(self, reason: str, sequence: int) -> None:
        """Tell the reader to ask for everything anew; what comes after `sequence` follows."""
        self._queue.clear()
        self._waiting_transitions = 0
        data = frames.encode("reset", {"reason": reason}, sequence=sequence)
        self._queue["reset"] = Frame(event="reset", data=data, version=0)
        self._flush()

    def close(self, reason: str) -> None:
        """End the stream after what is queued, or without it if the reader does not take it. The first reason counts."""
        if not self._closing:
            self._closing = reason
            self._stuck_at = min(self._stuck_at, _now() + SEND_TIMEOUT)
            self._arm()
        self._flush()

    def refresh(self) -> None:
        """Note that the session lives on, perhaps under a new token: then this one's reader has to come with that.

        Nothing ends before the next ping, which asks.
        """
        self._was_refreshed = True

    def recheck(self) -> None:
        """Ask auth within seconds whether the session still lives; spread, so that auth can answer."""
        delay = random.uniform(0.0, RECHECK_SECONDS)  # noqa: S311
        self._check_at = min(self._check_at, _now() + delay)
        self._arm()

    async def identity(self) -> str:
        """Give the user's signed identity. Raises `Unauthenticated` when the session has ended."""
        self.session = await self._validator.validate(self.session.token, passive=True)
        return self.session.identity

    # --- called by the line ---

    def start(self, taken: line.Sink) -> None:
        """Send the opening, then what is told, a ping every 15 s, and at the end a goodbye."""
        self._line = taken
        taken.write(self.opening)
        self.opening = b""
        if taken.is_full:
            self.full()
        self._flush()
        self._arm()

    def full(self) -> None:
        """The reader takes no more: wait, but not for ever."""
        self._stuck_at = min(self._stuck_at, _now() + SEND_TIMEOUT)
        self._arm()

    def free(self) -> None:
        """The reader takes more."""
        if not self._closing:
            self._stuck_at = math.inf
        self._flush()

    def lost(self) -> None:
        """The reader is gone."""
        self._closing = self._closing or DISCONNECTED
        self._line = None
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._checking is not None:
            self._checking.cancel()
        on_end, self.on_end = self.on_end, _nothing
        on_end()

    # --- what is sent ---

    def _flush(self) -> None:
        taken = self._line
        if taken is None or taken.is_full or self._has_ended:
            return
        if self._queue:
            taken.write(self._take())
        if self._closing:
            self._has_ended = True
            if self._closing not in _SILENT:
                taken.write(bye(self._closing))
            taken.end()

    def _take(self) -> bytes:
        waiting = list(self._queue.values())
        self._queue.clear()
        self._waiting_transitions = 0
        for frame in waiting:
            metrics.sent(frame.event)
        return waiting[0].data if len(waiting) == 1 else b"".join(frame.data for frame in waiting)

    def _forget_older(self, frame: Frame) -> None:
        waiting = self._queue.get(f"{frame.event} {frame.job_id}") if self._queue else None
        if waiting is not None and waiting.version <= frame.version:
            del self._queue[waiting.key]

    # --- what the clock asks for ---

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line is None:
            return
        due = self._stuck_at
        if not self._closing:
            due = min(due, self._ends_at)
            if self._checking is None:
                due = min(due, self._ping_at, self._check_at)
        if due < math.inf:
            self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _tick(self) -> None:
        now = _now()
        if self._line is not None and now >= self._stuck_at:
            logger.info("stalled reader dropped", extra={"user_id": self.session.user_id})
            self._closing = self._closing or STALLED
            self._line.abort()
            return
        if now >= self._ends_at:
            self.close("max_age")
        elif self._checking is None and now >= min(self._ping_at, self._check_at):
            if self._is_trusted(now):
                self._ping()
            else:
                self._checking = asyncio.create_task(self._check(pinging=now >= self._ping_at))
        self._arm()

    def _is_trusted(self, now: float) -> bool:
        """Whether nobody has to be asked about the session: its end would have been heard, and auth was asked not long ago.

        Whatever goes wrong with the hearing, a dead session's stream is found out within a minute.
        """
        is_known = now < min(self._check_at, self._confirmed_at + CONFIRM_SECONDS) and not self._was_refreshed
        return is_known and self._validator.is_live

    def _ping(self) -> None:
        self._ping_at = _now() + _until_ping()
        if not self._closing and self._line is not None and not self._line.is_full:
            self._line.write(frames.PING)

    async def _check(self, *, pinging: bool) -> None:
        try:
            await self.identity()
        except errors.Unauthenticated:
            self.close(REFRESHED if self._was_refreshed else "session_expired")
        except errors.Error:
            # Auth does not answer: what was known holds until the session's own end.
            if _seconds_left(self.session) <= 0:
                self.close("session_expired")
            self._check_at = _now() + RECHECK_SECONDS
        else:
            self._confirmed_at = _now()
            self._check_at = self._confirmed_at + max(_seconds_left(self.session), 1.0)
        finally:
            self._checking = None
            if pinging:
                self._ping()
            self._arm()


def hello(connection: Connection, *, resumed: bool, replayed: int, sequence: int) -> bytes:
    """Write the first frame of a stream, which says what the reader may rely on."""
    data: dict[str, Any] = {
        "resumed": resumed,
        "replayed": replayed,
        "server_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "heartbeat_s": int(PING_SECONDS),
        "max_age_s": int(connection.max_age),
    }
    return frames.encode("hello", data, sequence=sequence, retry_ms=random.randint(*RETRY_MS))  # noqa: S311


def bye(reason: str) -> bytes:
    """Write the last frame of a stream, with a time to come back at that is not everybody's."""
    span = CROWDED_RETRY_MS if reason == TOO_MANY else RETRY_MS
    return frames.encode("bye", {"reason": reason}, retry_ms=random.randint(*span))  # noqa: S311


def _seconds_left(session: sessions.Session) -> float:
    return session.expires - datetime.now(UTC).timestamp()


def _until_ping() -> float:
    return PING_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nothing() -> None:
    return
