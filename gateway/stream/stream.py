"""One open stream: a bounded queue between its feed and its socket."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from chassis import errors
from gateway import metrics
from gateway.identity import sessions
from gateway.stream import frames, raw_connection
from gateway.stream.frames import Frame
from gateway.views import times

logger = logging.getLogger(__name__)

PING_SECONDS = 15.0
MAX_AGE_SECONDS = 600.0
MAX_TRANSITIONS = 256
MAX_PROGRESS = 128
MAX_QUEUED_BYTES = 1 << 20
RECHECK_SECONDS = 5.0
SEND_TIMEOUT = 5.0
"""How long a reader may accept nothing before it is cut off."""
RETRY_MS = (1_000, 3_000)
CROWDED_RETRY_MS = (30_000, 60_000)
"""For the oldest of too many streams of one user: with a short retry they would end each other endlessly."""
CONFIRM_SECONDS = 60.0
"""How often a stream checks its session while revocations arrive over NATS."""
REFRESHED = "refreshed"
"""The session has a new token; the reader has to reconnect with it."""
TOO_MANY = "too_many_streams"
STALLED = "stalled"
DISCONNECTED = "disconnected"
FINISHED = "finished"
SESSION_ENDED = frozenset({"session_expired", REFRESHED})
_SILENT = frozenset({DISCONNECTED, FINISHED})


class Stream:
    """One open stream of a session. It has no task: frames are written at once, and one timer does the rest."""

    __slots__ = (
        "_check_at",
        "_checking",
        "_closing",
        "_confirmed_at",
        "_ends_at",
        "_has_ended",
        "_ping_at",
        "_queue",
        "_queued_bytes",
        "_queued_transitions",
        "_sink",
        "_stuck_at",
        "_timer",
        "_validator",
        "_was_refreshed",
        "is_operator",
        "job_id",
        "last_sequence",
        "max_age",
        "on_end",
        "opening",
        "session",
    )

    def __init__(
        self, session: sessions.Session, validator: sessions.Sessions, *, job_id: str = "", is_operator: bool = False
    ) -> None:
        """`job_id` narrows the stream to one job; it ends when that job does.

        The stream of an operator continues, since a retry may follow, and announces log lines. A change of the user's role ends
        the session, and so the stream.
        """
        self.session = session
        self.job_id = job_id
        self.is_operator = is_operator
        self.max_age = MAX_AGE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
        self.opening = b""
        """The bytes before all frames."""
        self.last_sequence = 0
        """The sequence of the owner's last transition that was sent, queued or of no interest."""
        self.on_end: Callable[[], None] = _nothing
        """Called once, when the reader has disconnected."""
        self._validator = validator
        self._queue: dict[str, Frame] = {}
        self._queued_transitions = 0
        self._queued_bytes = 0
        self._sink: raw_connection.Sink | None = None
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
        """Why the stream ends; empty while it is open."""
        return self._closing

    @property
    def queued(self) -> int:
        """How many frames the reader has yet to accept."""
        return len(self._queue)

    def send(self, frame: Frame) -> None:
        """Send a frame, or queue it while the reader is slow: progress and snapshots replace older ones in the queue.

        A reader that is 256 transitions behind gets a `reset` and is cut off.
        """
        if self._closing:
            return
        self.last_sequence = frame.sequence or self.last_sequence
        if self.job_id and frame.job_id != self.job_id:
            return
        if frame.is_for_operators and not self.is_operator:
            return
        if frame.sequence:
            self._drop_older(frame)
            self._queued_transitions += 1
        elif (queued := self._queue.get(frame.key)) is not None:
            if queued.version >= frame.version:
                return
            metrics.STREAM_COALESCED.inc()
            self._queued_bytes -= len(queued.data)
        elif frame.job_id and len(self._queue) - self._queued_transitions >= MAX_PROGRESS:
            return
        self._queue[frame.key] = frame
        self._queued_bytes += len(frame.data)
        if self._queued_transitions > MAX_TRANSITIONS or self._queued_bytes > MAX_QUEUED_BYTES:
            self.restart("too_slow", self.last_sequence)
            self.close("too_slow")
        elif self.job_id and frame.is_final and not self.is_operator:
            self.close(FINISHED)
        else:
            self._flush()

    def restart(self, reason: str, sequence: int) -> None:
        """Replace the queue by a `reset`: the reader fetches everything again, and events after `sequence` follow."""
        self._queue.clear()
        self._queued_transitions = self._queued_bytes = 0
        self.last_sequence = sequence
        data = frames.encode("reset", {"reason": reason}, sequence=sequence)
        self._queue["reset"] = Frame(event="reset", data=data, version=0)
        self._flush()

    def close(self, reason: str) -> None:
        """End the stream after the queued frames, or without them after 5 s. The first reason counts."""
        if not self._closing:
            self._closing = reason
            self._stuck_at = min(self._stuck_at, _now() + SEND_TIMEOUT)
            self._arm()
        self._flush()

    def on_session_refreshed(self) -> None:
        """Check the session at the next ping: it may have a new token, and then the stream ends with `refreshed`."""
        self._was_refreshed = True

    def recheck(self) -> None:
        """Check the session within 5 s, at a random time so that auth is not called for all streams at once."""
        delay = random.uniform(0.0, RECHECK_SECONDS)  # noqa: S311
        self._check_at = min(self._check_at, _now() + delay)
        self._arm()

    async def identity(self) -> str:
        """Return the user's signed identity. Raises `Unauthenticated` when the session has ended."""
        self.session = await self._validator.validate(self.session.token, passive=True)
        return self.session.identity

    # --- raw_connection.Writer ---

    def start(self, sink: raw_connection.Sink) -> None:
        """Send the opening, then frames, a ping every 15 s, and a `bye` at the end."""
        self._sink = sink
        sink.write(self.opening)
        self.opening = b""
        if sink.is_full:
            self.pause()
        self._flush()
        self._arm()

    def pause(self) -> None:
        """Queue frames, for at most 5 s."""
        self._stuck_at = min(self._stuck_at, _now() + SEND_TIMEOUT)
        self._arm()

    def resume(self) -> None:
        """Send the queued frames."""
        if not self._closing:
            self._stuck_at = math.inf
        self._flush()

    def disconnected(self) -> None:
        """Release everything that the stream holds."""
        self._closing = self._closing or DISCONNECTED
        self._sink = None
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._checking is not None:
            self._checking.cancel()
        on_end, self.on_end = self.on_end, _nothing
        on_end()

    # --- sending ---

    def _flush(self) -> None:
        sink = self._sink
        if sink is None or sink.is_full or self._has_ended:
            return
        if self._queue:
            sink.write(self._take())
        if self._closing:
            self._has_ended = True
            if self._closing not in _SILENT:
                sink.write(bye(self._closing))
            sink.end()

    def _take(self) -> bytes:
        queued = list(self._queue.values())
        self._queue.clear()
        self._queued_transitions = self._queued_bytes = 0
        for frame in queued:
            metrics.sent(frame.event)
        return queued[0].data if len(queued) == 1 else b"".join(frame.data for frame in queued)

    def _drop_older(self, frame: Frame) -> None:
        queued = self._queue.get(f"{frame.event} {frame.job_id}") if self._queue else None
        if queued is not None and queued.version <= frame.version:
            self._queued_bytes -= len(queued.data)
            del self._queue[queued.key]

    # --- timer ---

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sink is None:
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
        if self._sink is not None and now >= self._stuck_at:
            logger.info("stalled reader dropped", extra={"user_id": self.session.user_id})
            self._closing = self._closing or STALLED
            self._sink.abort()
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
        """Return whether the session needs no check: NATS delivers its end, and auth has confirmed it within 60 s.

        Even if a revocation is lost, the stream of a dead session ends within a minute.
        """
        is_confirmed = now < min(self._check_at, self._confirmed_at + CONFIRM_SECONDS) and not self._was_refreshed
        return is_confirmed and self._validator.is_live

    def _ping(self) -> None:
        self._ping_at = _now() + _until_ping()
        if not self._closing and self._sink is not None and not self._sink.is_full:
            self._sink.write(frames.PING)

    async def _check(self, *, pinging: bool) -> None:
        try:
            await self.identity()
        except errors.Unauthenticated:
            self.close(REFRESHED if self._was_refreshed else "session_expired")
        except errors.Error:
            # Auth does not answer: the session counts as alive until its own expiry.
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


def hello(stream: Stream, *, resumed: bool, replayed: int, sequence: int) -> bytes:
    """Encode the first frame of a stream."""
    data: dict[str, Any] = {
        "resumed": resumed,
        "replayed": replayed,
        "server_time": times.utc(datetime.now(UTC)),
        "heartbeat_s": int(PING_SECONDS),
        "max_age_s": int(stream.max_age),
    }
    return frames.encode("hello", data, sequence=sequence, retry_ms=random.randint(*RETRY_MS))  # noqa: S311


def bye(reason: str) -> bytes:
    """Encode the last frame of a stream, with a random time to reconnect after."""
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
