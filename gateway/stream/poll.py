"""The same stream in pieces, for clients that cannot hold one open: ask, wait for what is new, ask again from there."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from gateway.identity import sessions
from gateway.stream import connection, feed, frames

MAX_WAIT_SECONDS = 25.0
_SNAPSHOTS = frozenset({"demo", "connection"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a poll left off: at which transition, and how what has no sequence stood then."""

    sequence: str | None
    state: str

    @staticmethod
    def read(after: str | None) -> Cursor:
        """Read what a client hands back; the id of an event is one as well."""
        sequence, _, state = (after or "").partition(".")
        return Cursor(sequence=sequence or None, state=state)

    def __str__(self) -> str:
        return f"{self.sequence}.{self.state}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a poll is answered with."""

    resumed: bool
    events: list[dict[str, Any]]
    after: Cursor


class Reply:
    """Takes the place of a socket: what a stream writes is kept for the answer, which ends it."""

    def __init__(self) -> None:
        self.is_full = False
        self.has_ended = False
        self._written: list[bytes] = []
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Keep it."""
        self._written.append(data)
        self._news.set()

    def end(self) -> None:
        """The stream is over."""
        self.has_ended = True
        self._news.set()

    abort = end

    def take(self) -> list[frames.Decoded]:
        """Give what was written since."""
        taken = b"".join(self._written)
        self._written.clear()
        self._news.clear()
        return frames.decode(taken)

    async def wait(self, deadline: float) -> bool:
        """Wait until there is something to take; False if there is nothing at `deadline`, in the loop's time."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


async def poll(stream: connection.Connection, owner: feed.Feed, known: Cursor, *, wait: float) -> Piece:
    """Give what is new after `known` at once, or else what comes first within `wait` seconds. Raises `Unauthenticated`."""
    deadline = asyncio.get_running_loop().time() + wait
    reply = Reply()
    stream.start(reply)
    hello, *told = reply.take()
    resumed = bool(json.loads(hello.data)["resumed"])
    if resumed and known.state == state_of(owner):
        told = [frame for frame in told if frame.event not in _SNAPSHOTS]
    while not _events(told) and not reply.has_ended and await reply.wait(deadline):
        told += reply.take()
    if stream.close_reason in connection.SESSION_ENDED:
        raise sessions.SessionInvalid()
    ids = [frame.id for frame in (hello, *told) if frame.id is not None]
    after = Cursor(sequence=ids[-1], state=state_of(owner))
    return Piece(resumed=resumed, events=_events(told), after=after)


def state_of(owner: feed.Feed) -> str:
    """Name how demo mode and the connections stand; another name if one of them has moved."""
    demo = owner.known.demo
    return f"{demo.version if demo else 0}.{sum(shown['version'] for shown in owner.platforms.snapshots())}"


def _events(told: list[frames.Decoded]) -> list[dict[str, Any]]:
    """Show what concerns the client: it needs no signs of life, and comes back without being told."""
    return [
        {"id": int(frame.id) if frame.id is not None else None, "event": frame.event, "data": json.loads(frame.data)}
        for frame in told
        if frame.event not in {"ping", "bye"}
    ]
