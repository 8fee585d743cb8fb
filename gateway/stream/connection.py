"""One open stream: a bounded queue between the feed that fills it and the socket that empties it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chassis import errors
from gateway import metrics, sessions
from gateway.stream import frames

PING_SECONDS = 15.0
MAX_AGE_SECONDS = 600.0
MAX_TRANSITIONS = 256
MAX_PROGRESS = 128
RECHECK_SECONDS = 5.0

REFRESHED = "refreshed"
"""The session goes on under a new token: come again with that."""
DISCONNECTED = "disconnected"
FINISHED = "finished"
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
    """One open stream of a session."""

    __slots__ = (
        "_check_at",
        "_closing",
        "_ends_at",
        "_ping_at",
        "_queue",
        "_validator",
        "_waiting_transitions",
        "_wake",
        "_was_refreshed",
        "job_id",
        "max_age",
        "session",
    )

    def __init__(self, session: sessions.Session, validator: sessions.Sessions, *, job_id: str = "") -> None:
        """`job_id` narrows the stream to one job; it ends when that job does."""
        self.session = session
        self.job_id = job_id
        self.max_age = MAX_AGE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
        self._validator = validator
        self._queue: dict[str, Frame] = {}
        self._waiting_transitions = 0
        self._wake = asyncio.Event()
        self._closing = ""
        self._was_refreshed = False
        now = asyncio.get_running_loop().time()
        self._ends_at = now + self.max_age
        self._ping_at = now + PING_SECONDS
        self._check_at = now + _seconds_left(session)

    @property
    def close_reason(self) -> str:
        """Why it ends; empty while it is meant to go on."""
        return self._closing

    def tell(self, frame: Frame) -> None:
        """Queue a frame. Progress and demo snapshots replace older ones; a reader too slow for the rest is cut off."""
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
        self._wake.set()

    def restart(self, reason: str, sequence: int) -> None:
        """Tell the reader to ask for everything anew; what comes after `sequence` follows."""
        self._queue.clear()
        self._waiting_transitions = 0
        data = frames.encode("reset", {"reason": reason}, sequence=sequence)
        self._queue["reset"] = Frame(event="reset", data=data, version=0)
        self._wake.set()

    def close(self, reason: str) -> None:
        """End the stream after what is queued. The first reason counts."""
        self._closing = self._closing or reason
        self._wake.set()

    def refresh(self) -> None:
        """Note that the session lives on, perhaps under a new token: then this one's reader has to come with that.

        Nothing ends before the next ping, which asks.
        """
        self._was_refreshed = True

    def recheck(self) -> None:
        """Ask auth within seconds whether the session still lives; spread, so that auth can answer."""
        delay = random.uniform(0.0, RECHECK_SECONDS)  # noqa: S311
        self._check_at = min(self._check_at, asyncio.get_running_loop().time() + delay)
        self._wake.set()

    async def identity(self) -> str:
        """Give the user's signed identity. Raises `Unauthenticated` when the session has ended."""
        self.session = await self._validator.validate(self.session.token)
        return self.session.identity

    async def chunks(self, opening: bytes) -> AsyncGenerator[bytes, None]:
        """Give `opening`, then what is told, a ping every 15 s, and at the end a goodbye."""
        yield opening
        while True:
            if due := await self._due():
                yield due
            if self._queue:
                yield self._take()
            elif self._closing:
                break
            else:
                await self._wait()
        if self._closing not in _SILENT:
            yield frames.encode("bye", {"reason": self._closing})

    def _take(self) -> bytes:
        taken = list(self._queue.values())
        self._queue.clear()
        self._waiting_transitions = 0
        for frame in taken:
            metrics.STREAM_FRAMES.labels(frame.event).inc()
        return b"".join(frame.data for frame in taken)

    def _forget_older(self, frame: Frame) -> None:
        waiting = self._queue.get(f"{frame.event} {frame.job_id}")
        if waiting is not None and waiting.version <= frame.version:
            del self._queue[waiting.key]

    async def _due(self) -> bytes:
        """Do what the clock asks for; gives the ping if it is time for one."""
        now = asyncio.get_running_loop().time()
        if now >= self._ends_at:
            self.close("max_age")
            return b""
        pinging = now >= self._ping_at
        # Revocations are heard over NATS; whatever went wrong with that, nobody is told for longer than a ping that all is well.
        if pinging or now >= self._check_at:
            await self._check()
        if not pinging or self._closing:
            return b""
        self._ping_at = now + PING_SECONDS
        return frames.PING

    async def _check(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self.identity()
        except errors.Unauthenticated:
            self.close(REFRESHED if self._was_refreshed else "session_expired")
        except errors.Error:
            # Auth does not answer: what was known holds until the session's own end.
            if _seconds_left(self.session) <= 0:
                self.close("session_expired")
            self._check_at = loop.time() + RECHECK_SECONDS
        else:
            self._check_at = loop.time() + max(_seconds_left(self.session), 1.0)

    async def _wait(self) -> None:
        self._wake.clear()
        if self._queue or self._closing:
            return
        try:
            async with asyncio.timeout_at(min(self._ends_at, self._ping_at, self._check_at)):
                await self._wake.wait()
        except TimeoutError:
            return


def hello(connection: Connection, *, resumed: bool, replayed: int, sequence: int) -> bytes:
    """Write the first frame of a stream, which says what the reader may rely on."""
    data: dict[str, Any] = {
        "resumed": resumed,
        "replayed": replayed,
        "server_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "heartbeat_s": int(PING_SECONDS),
        "max_age_s": int(connection.max_age),
    }
    return frames.encode("hello", data, sequence=sequence, retry_ms=random.randint(1000, 3000))  # noqa: S311


def _seconds_left(session: sessions.Session) -> float:
    return session.expires - datetime.now(UTC).timestamp()
