"""Latency for a watching user: from the click to the running job, and from each transition to its frame."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import UUID

from bench import load
from bench.events import Events
from bench.samples import Row, Section
from bench.system import DEMO_OPTIONS, System, User
from repruv.jobs.v1 import job_events_pb2

RATE, COUNT, WARM_UP = 10.0, 300, 20
P99_SECONDS = 0.05
JOB_SECONDS = 30.0


async def run(system: System) -> list[Section]:
    """Measure users that click and watch."""
    await _click(system, WARM_UP)
    users, streams, clicks = await _click(system, COUNT)
    rows = [
        Row(
            name=f"click -> the job is {status}",
            durations=[_received_at(events, status) - click for events, click in zip(streams, clicks, strict=True)],
            limits=((99, P99_SECONDS),) if status == "running" else (),
        )
        for status in ("pending", "running", "completed")
    ]
    latencies = await _transition_latencies(system, users, streams)
    rows.append(
        Row(name="transition committed -> its frame has arrived", durations=latencies, limits=((99, P99_SECONDS),))
    )
    notes = [
        "The first three begin with the POST and end with the frame in the event stream.",
        "The last one begins with the event's `occur_time`. It is set before the commit, so the commit is included.",
    ]
    return [Section(title=f"Latency, {RATE:.0f} clicks/s, {COUNT} open streams", rows=rows, notes=notes)]


async def _click(system: System, count: int) -> tuple[Sequence[User], Sequence[Events], Sequence[float]]:
    users = await system.sign_up(count)
    clicks = [0.0] * count
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(system.watch(user)) for user in users]
        await system.quiet()

        async def click(index: int) -> None:
            clicks[index] = time.perf_counter()
            await system.enable(users[index], DEMO_OPTIONS)

        await load.offer(click, rate=RATE, count=count)
        await asyncio.gather(
            *(events.until(lambda frame: _shows(frame.data, "completed"), timeout=JOB_SECONDS) for events in streams)
        )
    return users, streams, clicks


async def _transition_latencies(system: System, users: Sequence[User], streams: Sequence[Events]) -> list[float]:
    """Return the seconds between each transition and its frame, by the clock of this machine."""
    arrived_at = {
        (user.user_id, frame.sequence): frame.arrived
        for user, events in zip(users, streams, strict=True)
        for frame in events.frames
        if frame.event == "job" and frame.sequence is not None
    }
    statement = "SELECT event FROM jobs.job_events WHERE owner_id = ANY(%s)"
    async with await system.connect_database() as conn:
        rows = await (await conn.execute(statement, [[UUID(user.user_id) for user in users]])).fetchall()
    events = [job_events_pb2.JobEvent.FromString(row[0]) for row in rows]
    return [arrived_at[event.owner_id, event.sequence] - event.occur_time.ToNanoseconds() / 1e9 for event in events]


def _received_at(events: Events, status: str) -> float:
    return next(frame.received_at for frame in events.frames if _shows(frame.data, status))


def _shows(data: dict[str, object], status: str) -> bool:
    return data.get("kind") == "demo.enable" and data.get("status") == status
