"""The work of every peer: consume the same events over NATS as ready JSON and pass each to the streams of its owner.

The applications run in separate virtual environments, so this module imports nothing of this project. There is no sign-in,
no resuming and no limit: only the cost of a stream. Each stream has a queue, as the documentation of both peers shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import nats
import uvicorn

MAX_QUEUED = 100

queues: dict[str, set[asyncio.Queue[tuple[int, str]]]] = {}
_count = 0


async def deliver(message: Any) -> None:
    """Deliver an event to its owner's streams."""
    global _count
    _count += 1
    for queue in queues.get(message.subject.rpartition(".")[2], ()):
        with contextlib.suppress(asyncio.QueueFull):
            queue.put_nowait((_count, message.data.decode()))


@contextlib.contextmanager
def listening(user: str) -> Any:
    """Return a queue of the events of a user."""
    queue: asyncio.Queue[tuple[int, str]] = asyncio.Queue(MAX_QUEUED)
    queues.setdefault(user, set()).add(queue)
    try:
        yield queue
    finally:
        queues[user].discard(queue)
        if not queues[user]:
            del queues[user]


@contextlib.asynccontextmanager
async def lifespan(app: object) -> AsyncIterator[None]:
    """Consume events from NATS."""
    client = await nats.connect(os.environ["BENCH_NATS_URL"])
    await client.subscribe("peers.events.>", cb=deliver)
    yield
    await client.close()


def run(app: Any) -> None:
    """Serve with the settings of our gateway."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        backlog=2048,
        timeout_graceful_shutdown=3,
    )
