"""Broadcasts of the jobs service: nothing waits for them, and nothing depends on them."""

from __future__ import annotations

import asyncio
from typing import cast

from chassis import bus
from repruv.jobs.v1 import job_events_pb2
from services.jobs import broadcast


class HalfOpen:
    """A bus whose connection takes nothing until `opened` is set."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.published = 0

    async def broadcast(self, subject: str, payload: bytes) -> None:
        self.published += 1
        await self.opened.wait()


async def test_broadcasts_that_nats_does_not_take_are_bounded() -> None:
    nats = HalfOpen()
    broadcaster = broadcast.Broadcaster(cast("bus.Bus", nats))

    async def send(count: int) -> None:
        for _ in range(count):
            broadcaster.send("jobs.cancel", job_events_pb2.JobCancelRequested())
        await asyncio.sleep(0)

    await send(broadcast.MAX_SENDING + 5)
    assert nats.published == broadcast.MAX_SENDING
    nats.opened.set()
    await asyncio.wait(set(broadcaster._sending))
    await send(1)
    assert nats.published == broadcast.MAX_SENDING + 1
