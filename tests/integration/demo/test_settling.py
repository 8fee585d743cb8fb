"""Effects of job updates on demo mode on a real database: late, repeated, in any order."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus
from lifecycle.machine import JobPhase
from lifecycle.subscriber import Subscriber
from repruv.jobs.v1 import job_events_pb2, job_pb2
from services.demo import declaration, handlers, schema
from services.demo.domain import State
from tests.integration.demo.conftest import Crashing, Owner


async def started(owner: Owner, state: State) -> None:
    """Start a transition in which attempt 1 did a part of the work and died."""
    if state is State.DISABLING:
        await owner.enabled()
        await owner.disable()
        handler = handlers.disable
    else:
        await owner.enable()
        handler = handlers.enable
    with pytest.raises(RuntimeError):
        await handler(owner.dependencies, await owner.context(kind=Crashing))


@pytest.mark.parametrize("state", [State.ENABLING, State.DISABLING])
async def test_a_failed_job_fails_demo_mode_and_keeps_the_error(owner: Owner, state: State) -> None:
    await started(owner, state)
    settled = await owner.settle(await owner.update(JobPhase.FAILED))
    assert settled == await owner.mode()
    assert settled.state is State.FAILED
    assert settled.error
    assert (settled.error.code, settled.error.message) == ("broken", "It broke.")
    assert (await owner.published_events())[-1] == ("job_failed", settled.version)


async def test_a_cancelled_enable_ends_disabled(owner: Owner) -> None:
    await started(owner, State.ENABLING)
    settled = await owner.settle(await owner.update(JobPhase.CANCELLED))
    assert (settled.state, settled.content_written, settled.interactions_written) == (State.DISABLED, 0, 0)
    assert (await owner.published_events())[-1] == ("enable_cancelled", settled.version)


async def test_a_cancelled_disable_ends_failed(owner: Owner) -> None:
    await started(owner, State.DISABLING)
    settled = await owner.settle(await owner.update(JobPhase.CANCELLED))
    assert settled.state is State.FAILED
    assert settled.error
    assert settled.error.code == "cancelled"
    assert settled.interactions_removed == 700


@pytest.mark.parametrize(("phase", "state"), [(JobPhase.CANCELLED, State.DISABLED), (JobPhase.FAILED, State.FAILED)])
@pytest.mark.parametrize("interactions", [0, 2_500])
async def test_enable_whose_last_write_was_not_reported_follows_its_job_and_can_be_retried(
    owner: Owner, phase: JobPhase, state: State, interactions: int
) -> None:
    await owner.enabled(interactions=interactions)
    settled = await owner.settle(await owner.update(phase, version=5))
    assert (settled.state, settled.enabled_at) == (state, None)
    await owner.settle(await owner.update(JobPhase.UNCLAIMED, version=6))
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert (await owner.mode()).state is State.ENABLED
    assert await owner.stored() == await owner.asked_for()


async def test_events_of_the_jobs_service_are_decoded(owner: Owner) -> None:
    accepted = await owner.enable()
    request = declaration.submit(accepted.mode)
    job = job_pb2.Job(
        job_id=request.job_id,
        spec=request.spec,
        state=job_pb2.JOB_STATE_FAILED,
        attempt=3,
        version=12,
        error=job_pb2.JobError(code="worker_crashed", message="The worker died."),
    )
    event = job_events_pb2.JobEvent(owner_id=str(owner.owner_id), sequence=1, reason="failed", job=job)
    payload = job_events_pb2.JobEvents(events=[event]).SerializeToString()
    received = bus.Received(subject="jobs.events.demo.enable", payload=payload, message_id=str(uuid4()))
    receive = Subscriber(owner.demo.settler).receive
    await receive(received)
    await receive(received)
    mode = await owner.mode()
    assert mode.state is State.FAILED
    assert mode.error
    assert mode.error.code == "worker_crashed"
    assert [reason for reason, _ in await owner.published_events()] == ["enable_accepted", "job_failed"]


async def test_events_of_other_kinds_are_ignored(owner: Owner) -> None:
    job = job_pb2.Job(job_id=str(uuid4()), state=job_pb2.JOB_STATE_FAILED, spec=job_pb2.JobSpec(kind="other.kind"))
    event = job_events_pb2.JobEvent(owner_id=str(owner.owner_id), job=job)
    payload = job_events_pb2.JobEvents(events=[event]).SerializeToString()
    await Subscriber(owner.demo.settler).receive(bus.Received(subject="x", payload=payload, message_id=str(uuid4())))
    assert (await owner.mode()).version == 0


async def failed_event(owner: Owner) -> job_events_pb2.JobEvent:
    """Accept an enable, and return the event of the failure of its job."""
    request = declaration.submit((await owner.enable()).mode)
    job = job_pb2.Job(
        job_id=request.job_id,
        spec=request.spec,
        state=job_pb2.JOB_STATE_FAILED,
        version=12,
        error=job_pb2.JobError(code="broken", message="It broke."),
    )
    return job_events_pb2.JobEvent(owner_id=str(owner.owner_id), job=job)


async def test_event_that_fails_keeps_no_event_of_other_owners_from_being_settled(
    make_owner: Callable[..., Owner], engine: AsyncEngine
) -> None:
    locked, other = make_owner(), make_owner()
    of_locked, of_other = await failed_event(locked), await failed_event(other)
    broken = job_events_pb2.JobEvent(
        owner_id="x", job=job_pb2.Job(job_id="x", state=job_pb2.JOB_STATE_FAILED, spec=of_other.job.spec)
    )
    payload = job_events_pb2.JobEvents(events=[broken, of_locked, of_other]).SerializeToString()
    received = bus.Received(subject="jobs.events.demo.enable", payload=payload, message_id=str(uuid4()))
    receive = Subscriber(other.demo.settler).receive
    async with engine.connect() as conn:
        mode = sa.select(schema.demo_modes).where(schema.demo_modes.c.owner_id == locked.owner_id)
        await conn.execute(mode.with_for_update())
        with pytest.raises(sa.exc.DBAPIError):
            await receive(received)
    assert (await other.mode()).state is State.FAILED
    # Redelivered: only what can never be read remains.
    with pytest.raises(bus.Undecodable):
        await receive(received)
    assert (await locked.mode()).state is State.FAILED


async def test_event_with_a_broken_job_is_undecodable(owner: Owner) -> None:
    job = job_pb2.Job(job_id="x", state=job_pb2.JOB_STATE_FAILED, spec=job_pb2.JobSpec(kind="demo.enable"))
    payload = job_events_pb2.JobEvents(events=[job_events_pb2.JobEvent(job=job)]).SerializeToString()
    with pytest.raises(bus.Undecodable):
        await Subscriber(owner.demo.settler).receive(bus.Received(subject="x", payload=payload, message_id=""))
