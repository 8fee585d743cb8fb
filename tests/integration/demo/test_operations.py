"""Operations: accepted, refused and repeated requests, dismissals, and the submit of accepted jobs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres
from lifecycle.machine import JobPhase
from lifecycle.submitter import LifecycleSubmitter
from repruv.jobs.v1 import job_pb2
from services.demo import declaration, domain, idempotency, operations, schema, storage
from services.demo.declaration import DEMO_MODE
from services.demo.domain import State
from tests.integration.demo.conftest import Demo, Owner
from worker import JobsClient
from worker import outbox as worker_outbox

MakeOwner = Callable[..., Owner]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_enable_is_accepted_while_the_jobs_service_is_down(owner: Owner) -> None:
    accepted = await owner.enable()
    assert accepted.mode == await owner.mode()
    assert (accepted.mode.state, accepted.mode.generation, accepted.mode.version) == (State.ENABLING, 1, 1)
    assert accepted.mode.job_id == accepted.job_id
    assert not accepted.is_replayed
    assert await owner.published_events() == [("enable_accepted", 1)]
    assert await owner.kept_submits() == [declaration.submit(accepted.mode)]


async def test_accepted_job_is_submitted_at_once(
    make_owner: MakeOwner, demo_with_jobs: Demo, jobs: JobsClient, eventually: Eventually
) -> None:
    owner = make_owner(demo=demo_with_jobs)
    accepted = await owner.enable()
    await eventually(owner.has_job)
    job = await jobs.get(str(accepted.job_id))
    assert job
    assert (job.spec.kind, job.spec.owner_id) == ("demo.enable", str(owner.owner_id))
    assert dict(job.spec.payload) == {"generation": 1}


async def test_outbox_submits_undelivered_jobs_after_a_delay(
    owner: Owner, engine: AsyncEngine, jobs: JobsClient, late_polls: timedelta
) -> None:
    accepted = await owner.enable()
    async with engine.connect() as conn:
        statement = sa.select(schema.outbox.c.send_after - sa.func.now(), schema.outbox.c.payload)
        stored_messages = (await conn.execute(statement.where(schema.outbox.c.subject == worker_outbox.SUBJECT))).all()
    request = declaration.submit(accepted.mode).SerializeToString()
    (delay,) = [remaining for remaining, payload in stored_messages if payload == request]
    assert timedelta() < delay <= late_polls
    for _ in range(2):
        await LifecycleSubmitter(engine, jobs, DEMO_MODE).send("id", worker_outbox.SUBJECT, request)
    assert await jobs.get(str(accepted.job_id))


async def test_failed_submit_is_retried(owner: Owner, engine: AsyncEngine, silent_jobs: JobsClient) -> None:
    accepted = await owner.enable()
    request = declaration.submit(accepted.mode).SerializeToString()
    with pytest.raises(errors.Unavailable):
        await LifecycleSubmitter(engine, silent_jobs, DEMO_MODE).send("id", worker_outbox.SUBJECT, request)
    assert (await owner.mode()).state is State.ENABLING


async def test_rejected_job_fails_demo_mode(owner: Owner, engine: AsyncEngine, jobs: JobsClient) -> None:
    accepted = await owner.enable()
    submit = declaration.submit(accepted.mode)
    submit.spec.payload.update({"generation": 77})
    await jobs.submit_request(submit)
    request = declaration.submit(accepted.mode).SerializeToString()
    await LifecycleSubmitter(engine, jobs, DEMO_MODE).send("id", worker_outbox.SUBJECT, request)
    mode = await owner.mode()
    assert mode.state is State.FAILED
    assert mode.error
    assert mode.error.code == "job_rejected"


async def test_job_that_another_version_has_submitted_with_other_options_is_no_failure(
    owner: Owner, engine: AsyncEngine, jobs: JobsClient
) -> None:
    """During an update the sweep of one version submits a job that the outbox holds as the other version wrote it."""
    accepted = await owner.enable()
    submit = declaration.submit(accepted.mode)
    submit.spec.max_attempts += 1
    await jobs.submit_request(submit)
    request = declaration.submit(accepted.mode).SerializeToString()
    await LifecycleSubmitter(engine, jobs, DEMO_MODE).send("id", worker_outbox.SUBJECT, request)
    assert (await owner.mode()).state is State.ENABLING


async def test_of_concurrent_enables_exactly_one_wins(owner: Owner) -> None:
    results = await asyncio.gather(*(owner.enable() for _ in range(8)), return_exceptions=True)
    (won,) = [result for result in results if isinstance(result, operations.Accepted)]
    lost = [result for result in results if isinstance(result, errors.FailedPrecondition)]
    assert [error.code for error in lost] == ["demo_enabling"] * 7
    mode = await owner.mode()
    assert (mode.job_id, mode.generation) == (won.job_id, 1)
    assert len(await owner.kept_submits()) == 1


async def test_of_concurrent_disables_exactly_one_wins(owner: Owner) -> None:
    await owner.enabled(interactions=10)
    results = await asyncio.gather(*(owner.disable() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, operations.Accepted) for result in results) == 1
    assert (await owner.mode()).generation == 2


async def test_illegal_action_is_refused_with_its_code(owner: Owner) -> None:
    async def code(call: Awaitable[object]) -> str:
        with pytest.raises(errors.FailedPrecondition) as excinfo:
            await call
        return excinfo.value.code

    assert await code(owner.disable()) == "demo_already_disabled"
    await owner.enable(interactions=10)
    assert await code(owner.enable()) == "demo_enabling"
    assert await code(owner.disable()) == "demo_enabling"
    assert await code(owner.demo.operations.dismiss(owner.owner_id)) == "demo_not_failed"
    await owner.settle(await owner.update(JobPhase.FAILED))
    assert await code(owner.disable()) == "demo_failed"
    await owner.enabled(interactions=10)
    assert await code(owner.enable()) == "demo_already_enabled"
    assert await code(owner.demo.operations.dismiss(owner.owner_id)) == "demo_not_failed"
    await owner.disable()
    assert await code(owner.enable()) == "demo_disabling"
    assert await code(owner.disable()) == "demo_disabling"
    assert await code(owner.demo.operations.dismiss(owner.owner_id)) == "demo_not_failed"


async def test_refused_request_changes_nothing(owner: Owner) -> None:
    await owner.enable()
    before = await owner.mode(), await owner.published_events(), await owner.kept_submits()
    with pytest.raises(errors.FailedPrecondition):
        await owner.enable(key="refused")
    assert (await owner.mode(), await owner.published_events(), await owner.kept_submits()) == before
    await owner.settle(await owner.update(JobPhase.FAILED))
    assert not (await owner.enable(key="refused")).is_replayed


async def test_a_failed_demo_mode_is_enabled_again_by_a_new_job(owner: Owner) -> None:
    first = await owner.enable()
    old = await owner.update(JobPhase.FAILED)
    await owner.settle(old)
    assert (await owner.mode()).state is State.FAILED
    second = await owner.enable()
    mode = await owner.mode()
    assert (mode.state, mode.generation, mode.error) == (State.ENABLING, 2, None)
    assert mode.job_id == second.job_id != first.job_id
    await owner.settle(dataclasses.replace(old, version=old.version + 1))
    assert await owner.mode() == mode


async def test_the_same_key_with_the_same_request_is_the_same_job(owner: Owner) -> None:
    first = await owner.enable(key="k")
    again = await owner.enable(key="k")
    assert (again.job_id, again.is_replayed) == (first.job_id, True)
    assert again.mode == await owner.mode()
    assert len(await owner.kept_submits()) == 1


async def test_the_same_key_with_another_request_is_refused(owner: Owner) -> None:
    await owner.enable(content=12, key="k")
    for repeated in (owner.enable(content=13, key="k"), owner.disable(key="k")):
        with pytest.raises(errors.AlreadyExists) as excinfo:
            await repeated
        assert excinfo.value.code == "idempotency_key_reused"


async def test_concurrent_calls_with_the_same_key_are_one_job(owner: Owner) -> None:
    accepted = await asyncio.gather(*(owner.enable(key="k") for _ in range(8)))
    assert len({answer.job_id for answer in accepted}) == 1
    assert sum(not answer.is_replayed for answer in accepted) == 1
    assert len(await owner.kept_submits()) == 1


async def test_idempotency_key_outlives_its_job(owner: Owner) -> None:
    await owner.enabled(interactions=10)
    first = await owner.disable(key="k")
    await owner.settle(await owner.update(JobPhase.FAILED))
    await owner.demo.operations.dismiss(owner.owner_id)
    again = await owner.disable(key="k")
    assert (again.job_id, again.is_replayed, again.mode.state) == (first.job_id, True, State.DISABLED)


async def test_keys_belong_to_their_owner(make_owner: MakeOwner) -> None:
    first, second = [await make_owner().enable(key="k") for _ in range(2)]
    assert first.job_id != second.job_id
    assert not second.is_replayed


async def test_an_expired_key_can_be_used_again(owner: Owner, engine: AsyncEngine) -> None:
    await owner.enable(key="k")
    await owner.settle(await owner.update(JobPhase.FAILED))
    async with engine.begin() as conn:
        old = sa.update(schema.idempotency_keys).where(schema.idempotency_keys.c.owner_id == owner.owner_id)
        await conn.execute(old.values(created_at=sa.func.now() - idempotency.KEY_LIFETIME - timedelta(minutes=1)))
    again = await owner.enable(content=13, key="k")
    assert not again.is_replayed


@pytest.mark.parametrize("key", ["x" * 256, "nul\x00"])
async def test_invalid_idempotency_key_is_refused(owner: Owner, key: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await owner.enable(key=key)
    assert excinfo.value.field == "idempotency_key"


async def test_dismiss_clears_the_failure_and_may_be_repeated(owner: Owner) -> None:
    await owner.enable()
    await owner.settle(await owner.update(JobPhase.FAILED))
    dismissed = await owner.demo.operations.dismiss(owner.owner_id)
    assert (dismissed.state, dismissed.generation, dismissed.error) == (State.DISABLED, 2, None)
    assert await owner.demo.operations.dismiss(owner.owner_id) == dismissed
    assert (await owner.published_events())[-1] == ("dismissed", dismissed.version)


async def test_dismiss_for_a_new_owner(owner: Owner) -> None:
    assert (await owner.demo.operations.dismiss(owner.owner_id)).state is State.DISABLED


async def test_get_for_a_new_owner(owner: Owner) -> None:
    assert await owner.demo.operations.get(owner.owner_id) == (domain.Mode(owner_id=owner.owner_id), None)


async def test_get_answers_without_the_job_while_the_jobs_service_is_down(owner: Owner) -> None:
    accepted = await owner.enable()
    assert await owner.demo.operations.get(owner.owner_id) == (accepted.mode, None)


async def test_get_answers_without_a_job_that_was_not_submitted_yet(owner: Owner, demo_with_jobs: Demo) -> None:
    accepted = await owner.enable()
    assert await demo_with_jobs.operations.get(owner.owner_id) == (accepted.mode, None)


async def test_get_repairs_a_state_that_its_job_has_left(
    make_owner: MakeOwner,
    demo_with_jobs: Demo,
    cancel_job: Callable[[UUID], Awaitable[None]],
    eventually: Eventually,
) -> None:
    owner = make_owner(demo=demo_with_jobs)
    accepted = await owner.enable()
    await eventually(owner.has_job)
    mode, job = await demo_with_jobs.operations.get(owner.owner_id)
    assert job
    assert (mode.state, job.state) == (State.ENABLING, job_pb2.JOB_STATE_PENDING)
    await cancel_job(accepted.job_id)
    mode, job = await demo_with_jobs.operations.get(owner.owner_id)
    assert job
    assert (mode.state, job.state) == (State.DISABLED, job_pb2.JOB_STATE_CANCELLED)
    assert mode == await owner.mode()


async def test_get_does_not_ask_for_jobs_of_settled_states(owner: Owner) -> None:
    await owner.enabled(interactions=0)
    mode, job = await owner.demo.operations.get(owner.owner_id)
    assert (mode.state, job) == (State.ENABLED, None)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"state": "disabling", "previous_state": "disabled"}, "demo_modes_transition_known"),
        ({"state": "gone"}, "demo_modes_state_known"),
        ({"error_code": "x", "error_message": "x"}, "demo_modes_error_iff_failed"),
        ({"job_kind": "demo.enable"}, "demo_modes_job_whole"),
        ({"interactions_written": 1}, "demo_modes_written_in_bounds"),
    ],
)
async def test_database_refuses_contradictory_states(
    owner: Owner, engine: AsyncEngine, columns: dict[str, object], constraint: str
) -> None:
    async with engine.begin() as conn:
        await storage.lock_free_mode(conn, owner.owner_id)
    of_owner = schema.demo_modes.c.owner_id == owner.owner_id
    with pytest.raises(IntegrityError) as excinfo:
        async with engine.begin() as conn:
            await conn.execute(sa.update(schema.demo_modes).where(of_owner).values(columns))
    assert postgres.violated_constraint(excinfo.value) == constraint


async def test_action_that_becomes_legal_while_it_is_refused_is_accepted(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of an enable ends between the refused update of a disable and the read of its reason."""
    await owner.enabled()
    move, refusals = DEMO_MODE.move, operations.TRIES

    async def racing(_: object, *args: Any, **arguments: Any) -> Any:
        nonlocal refusals
        refusals -= 1
        return None if refusals >= 0 else await move(*args, **arguments)

    monkeypatch.setattr(type(DEMO_MODE), "move", racing)
    with pytest.raises(errors.Unavailable):
        await owner.disable()
    assert (await owner.mode()).state is State.ENABLED
    refusals = 1
    assert (await owner.disable()).mode.state is State.DISABLING
