"""Events: one a transition, without gaps, in batches by kind."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from repruv.jobs.v1 import job_events_pb2
from services.jobs import domain, schema
from services.jobs.operations import Operations
from tests.integration.jobs import steps


async def test_every_transition_is_an_event_and_the_owners_sequence_has_no_gaps(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: steps.Submit, kind: str, owner_id: UUID
) -> None:
    made = await asyncio.gather(*(submitted() for _ in range(10)))
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=6)
    await asyncio.gather(*(jobs.finish(job.job_id, 1, domain.Completed()) for job in claimed))
    waiting = {job.job_id for job in made} - {job.job_id for job in claimed}
    await asyncio.gather(*(jobs.cancel(job_id, owner_id=owner_id, reason="r") for job_id in waiting))
    raw, latest = await jobs.list_events(owner_id, after=0, limit=500)
    events = [job_events_pb2.JobEvent.FromString(event) for event in raw]
    assert [event.sequence for event in events] == list(range(1, 27))
    assert latest == 26
    versions: dict[str, int] = {}
    for event in events:
        assert event.job.version == versions.get(event.job.job_id, 0) + 1
        versions[event.job.job_id] = event.job.version
    async with jobs_engine.connect() as conn:
        messages = sa.select(schema.outbox.c.payload).where(schema.outbox.c.subject == f"jobs.events.{kind}")
        payloads = (await conn.execute(messages)).scalars().all()
    told = [event for payload in payloads for event in job_events_pb2.JobEvents.FromString(payload).events]
    assert sorted(event.sequence for event in told) == list(range(1, 27))


async def test_events_can_be_read_from_any_position_but_not_from_the_future(
    jobs: Operations, submitted: steps.Submit, owner_id: UUID
) -> None:
    for _ in range(3):
        await submitted()
    raw, latest = await jobs.list_events(owner_id, after=2, limit=500)
    assert ([job_events_pb2.JobEvent.FromString(event).sequence for event in raw], latest) == ([3], 3)
    assert await jobs.list_events(owner_id, after=3, limit=500) == ([], 3)
    with pytest.raises(errors.OutOfRange) as caught:
        await jobs.list_events(owner_id, after=4, limit=500)
    assert caught.value.code == "cursor_unknown"
