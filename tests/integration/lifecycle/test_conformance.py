"""The rules that hold for every lifecycle, on the real database: fence, generation, settling, repair, sweep."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

import worker
from chassis import bus, ids
from chassis.prepared import Prepared
from lifecycle.attempts import FencedAttempt
from lifecycle.machine import FINISHED, JobPhase
from lifecycle.subscriber import Subscriber
from repruv.jobs.v1 import job_events_pb2, job_pb2
from tests.integration.lifecycle.conftest import Case

UNSUCCESSFUL = FINISHED - {JobPhase.COMPLETED}


async def begin(case: Case, resource: Any, number: int = 1) -> None:
    async with case.attempt(resource, number).begin():
        pass


async def complete(case: Case, resource: Any, number: int = 1) -> Any:
    action, columns = case.complete()
    async with case.attempt(resource, number).begin() as tx:
        return await tx.move(action, columns)


async def complete_again(case: Case, resource: Any, number: int) -> Any:
    """Run another attempt of a job whose work was complete before."""
    action, columns = case.complete()
    async with case.attempt(resource, number).begin() as tx:
        if not tx.is_done:
            await tx.move(action, columns)
    return await case.read(resource)


async def test_open_begins_generation_with_version_one_or_next(case: Case) -> None:
    resource = await case.start()
    assert resource.state == case.step.working
    assert (resource.attempt, resource.job_version, resource.error) == (0, 0, None)
    assert case.lifecycle.machine.has_pending_job(resource)
    assert await case.read(resource) == resource


async def test_submit_names_the_resource_and_repeats_itself(case: Case) -> None:
    resource = await case.start()
    request = case.lifecycle.submit(resource)
    assert request == case.lifecycle.submit(resource)
    assert (request.job_id, request.spec.kind) == (str(resource.job_id), case.kind)
    attempt = case.attempt(resource)
    assert attempt.fence.key == resource.key
    assert attempt.fence.generation == resource.generation


async def test_begin_stores_the_attempt_and_fences_off_lower_ones(case: Case) -> None:
    resource = await case.start()
    await begin(case, resource, 1)
    await begin(case, resource, 2)
    assert (await case.read(resource)).attempt == 2
    before = await case.read(resource)
    zombie = case.attempt(resource, 1)
    with pytest.raises(worker.Cancelled, match="superseded"):
        async with zombie.fenced():
            raise AssertionError("a zombie holds the fence")
    with pytest.raises(worker.Cancelled, match="superseded"):
        async with zombie.begin():
            raise AssertionError("a zombie begins")
    assert await case.read(resource) == before


async def test_same_attempt_may_begin_again(case: Case) -> None:
    resource = await case.start()
    for _ in range(2):
        await begin(case, resource)
    async with case.attempt(resource).fenced() as tx:
        assert tx.resource.attempt == 1


async def complete_at_once(case: Case, attempt: FencedAttempt[Any, Any]) -> Any:
    action, columns = case.complete()
    statement = Prepared(case.lifecycle.rows.begin_with_transition_statement(action, frozenset(columns)))
    parameters = {f"new_{name}": value for name, value in columns.items()}
    async with attempt.begin_with_transition(action, statement, parameters) as tx:
        return tx and tx.resource


async def test_small_work_begins_by_its_end_in_one_transaction_of_two_statements(case: Case) -> None:
    resource = await case.start()
    with case.statements() as statements:
        completed = await complete_at_once(case, case.attempt(resource))
    assert (completed.state, completed.attempt, completed.error) == (case.step.done, 1, None)
    assert await case.read(resource) == completed
    of_lifecycle = [text for text in statements if case.lifecycle.rows.table.name in text.split("WHERE")[0]]
    own = [text for text in of_lifecycle if "connection_" not in text]
    assert len(own) == 1, own
    assert sum("outbox" in text for text in statements) == case.message_statements


async def test_only_the_highest_attempt_of_the_present_job_begins_by_its_end(case: Case) -> None:
    resource = await case.start()
    await begin(case, resource, 2)
    before, messages = await case.read(resource), await case.messages(resource)
    older = replace(resource, generation=resource.generation - 1)
    for attempt in (
        case.attempt(resource, 1),
        case.attempt(resource, 2, job_id=str(ids.uuid7())),
        case.attempt(older, 2),
    ):
        assert await complete_at_once(case, attempt) is None
    assert await case.read(resource) == before
    assert await case.messages(resource) <= messages
    assert (await complete_at_once(case, case.attempt(resource, 2))).state == case.step.done
    assert await complete_at_once(case, case.attempt(resource, 3)) is None


async def test_attempt_after_completion_has_nothing_to_do(case: Case) -> None:
    resource = await case.start()
    completed = await complete(case, resource)
    async with case.attempt(resource, 2).begin() as tx:
        assert tx.is_done
    assert await case.read(resource) == replace(completed, attempt=2)


async def test_failure_within_a_transaction_changes_and_publishes_nothing(case: Case) -> None:
    resource = await case.start()
    await begin(case, resource)
    before, messages = await case.read(resource), await case.messages(resource)
    action, columns = case.complete()
    with pytest.raises(RuntimeError):
        async with case.attempt(resource).fenced() as tx:
            await tx.move(action, columns)
            raise RuntimeError
    assert await case.read(resource) == before
    assert await case.messages(resource) <= messages


@pytest.mark.parametrize("other", ["job", "generation"])
async def test_other_jobs_and_generations_are_superseded(case: Case, other: str) -> None:
    resource = await case.start()
    attempt = case.attempt(resource, job_id=str(ids.uuid7())) if other == "job" else case.attempt(resource)
    if other == "generation":
        table = case.lifecycle.rows.table
        owner = table.c[case.lifecycle.rows.key_names[0]] == resource.key[0]
        async with case.engine.begin() as conn:
            await conn.execute(sa.update(table).where(owner).values(generation=table.c.generation + 1))
    before = await case.read(resource)
    for open_transaction in (attempt.begin, attempt.fenced):
        with pytest.raises(worker.Cancelled, match="superseded"):
            async with open_transaction():
                raise AssertionError("a superseded attempt holds the fence")
    assert await case.read(resource) == before


@pytest.mark.parametrize("phase", sorted(FINISHED))
async def test_end_of_a_job_is_settled_once_as_declared(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    update = case.update(resource, phase)
    settled = await case.settler.settle(update)
    ending = getattr(case.step, phase.value)
    assert settled.state == case.lifecycle.machine.transitions[ending.action][1]
    assert (settled.error is None) == (ending.error is None)
    assert (settled.attempt, settled.job_version) == (update.attempt, update.version)
    assert settled.version == resource.version + 1
    assert await case.settler.settle(update) == settled
    assert await case.read(resource) == settled


@pytest.mark.parametrize("phase", JobPhase)
@pytest.mark.parametrize("change", ["version", "attempt", "generation", "job"])
async def test_old_and_foreign_updates_have_no_effect(case: Case, phase: JobPhase, change: str) -> None:
    resource = await case.start()
    await begin(case, resource, 2)
    present = await case.read(resource)
    changes: dict[str, dict[str, Any]] = {
        "version": {"version": 0},
        "attempt": {"attempt": 1},
        "generation": {"generation": resource.generation + 1},
        "job": {"job_id": UUID(int=7)},
    }
    await case.settler.settle(case.update(present, phase, **changes[change]))
    assert await case.read(resource) == present


@pytest.mark.parametrize("phase", sorted(set(JobPhase) - UNSUCCESSFUL))
async def test_no_update_of_a_job_that_goes_well_moves_a_completed_resource(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    completed = await complete(case, resource)
    settled = await case.settler.settle(case.update(completed, phase))
    assert (settled.state, settled.version) == (completed.state, completed.version)


@pytest.mark.parametrize("phase", sorted(UNSUCCESSFUL))
async def test_job_that_ends_without_success_after_its_last_write_leaves_nothing(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    completed = await complete(case, resource)
    update = case.update(completed, phase)
    for _ in range(2):
        await case.settler.settle(update)
    settled = await case.read(resource)
    machine = case.lifecycle.machine
    # Work that ends in the initial state, such as a disable, leaves nothing anyway.
    action = machine.initial if case.step.done == machine.initial else getattr(case.step, phase.value).action
    assert settled.state == machine.transitions.get(action, (None, machine.initial))[1]
    if _resumes(case, settled) or settled.state == case.step.done:
        again = await complete_again(case, resource, 2)
        assert again.state == case.step.done
        assert await case.settler.settle(update) == again
    else:
        with pytest.raises(_refusal(settled)):
            await complete_again(case, resource, 2)


@pytest.mark.parametrize("phase", sorted(UNSUCCESSFUL))
async def test_late_end_of_an_attempt_before_the_retry_changes_nothing(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    completed = await complete(case, resource)
    late = case.update(completed, phase)
    again = await complete_again(case, resource, 2)
    assert await case.settler.settle(late) == again
    assert again.state == case.step.done


@pytest.mark.parametrize("phase", sorted(UNSUCCESSFUL))
async def test_end_of_a_job_does_not_move_the_next_generation(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    completed = await complete(case, resource)
    late = case.update(completed, phase, generation=completed.generation - 1)
    assert await case.settler.settle(late) == completed


@pytest.mark.parametrize("phase", [JobPhase.FAILED, JobPhase.CANCELLED])
async def test_later_attempt_resumes_only_if_declared(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    await begin(case, resource)
    settled = await case.settler.settle(case.update(await case.read(resource), phase))
    for number, resumes in ((1, False), (2, _resumes(case, settled))):
        attempt = case.attempt(resource, number)
        if settled.state == case.step.done:
            async with attempt.begin() as tx:
                assert tx.is_done
        elif resumes:
            async with attempt.begin() as tx:
                assert (tx.resource.state, tx.resource.error) == (case.step.working, None)
            assert (await case.read(resource)).attempt == number
        else:
            with pytest.raises(worker.Cancelled if number == 1 else _refusal(settled)):
                async with attempt.begin():
                    raise AssertionError("an ended attempt begins")


async def test_attempt_after_an_unreported_failure_resumes_or_fails_with_its_error(case: Case) -> None:
    resource = await case.start()
    failure = case.step.failed
    async with case.attempt(resource).begin() as tx:
        failed = await tx.move(failure.action, error=failure.error)
    attempt = case.attempt(resource, 2)
    if _resumes(case, failed) or failed.state == case.step.done:
        async with attempt.begin() as tx:
            assert tx.is_done == (failed.state == case.step.done)
    else:
        with pytest.raises(worker.JobFailed) as error:
            async with attempt.begin():
                raise AssertionError("an attempt of failed work begins")
        assert (error.value.code, error.value.retryable) == (failure.error.code, False)


@pytest.mark.parametrize("phase", [JobPhase.FAILED, JobPhase.CANCELLED])
async def test_retry_resumes_only_if_declared(case: Case, phase: JobPhase) -> None:
    resource = await case.start()
    settled = await case.settler.settle(case.update(resource, phase))
    retried = await case.settler.settle(case.update(settled, JobPhase.UNCLAIMED))
    expected = case.step.working if _resumes(case, settled) else settled.state
    assert retried.state == expected


async def test_every_order_of_a_retried_jobs_updates_ends_the_same(case: Case) -> None:
    ends = set()
    for order in itertools.permutations(range(4)):
        resource = await case.start()
        story = [
            case.update(resource, JobPhase.UNCLAIMED, attempt=0, version=1),
            case.update(resource, JobPhase.HELD, attempt=1, version=2),
            case.update(resource, JobPhase.FAILED, attempt=1, version=4),
            case.update(resource, JobPhase.UNCLAIMED, attempt=1, version=5),
        ]
        for index in order:
            for _ in range(2):
                await case.settler.settle(story[index])
        ends.add((await case.read(resource)).state)
    assert len(ends) == 1


async def test_failure_event_is_settled_by_the_subscriber(case: Case) -> None:
    resource = await case.start()
    event = job_events_pb2.JobEvent(job=case.job(resource, job_pb2.JOB_STATE_FAILED))
    for _ in range(2):
        await Subscriber(case.settler).receive(_message(event))
    settled = await case.read(resource)
    assert settled.state == case.lifecycle.machine.transitions[case.step.failed.action][1]
    assert settled.version == resource.version + 1


async def test_event_without_the_resource_and_an_unreadable_message_are_undecodable(case: Case) -> None:
    resource = await case.start()
    job = case.job(resource, job_pb2.JOB_STATE_FAILED)
    job.spec.payload.Clear()
    with pytest.raises(bus.Undecodable):
        await Subscriber(case.settler).receive(_message(job_events_pb2.JobEvent(job=job)))
    with pytest.raises(bus.Undecodable):
        await Subscriber(case.settler).receive(bus.Received(subject="jobs.events", payload=b"\xff\xff", message_id=""))


@pytest.mark.parametrize("state", [job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_CANCELLED])
async def test_reading_repairs_a_state_that_its_job_has_left(case: Case, state: Any) -> None:
    resource = await case.start()
    assert await case.settler.repair(resource) == (resource, None)
    case.jobs.job = case.job(resource, state)
    repaired, job = await case.settler.repair(resource)
    assert job == case.jobs.job
    assert repaired.state != case.step.working
    assert await case.read(resource) == repaired


async def test_lost_end_of_a_job_after_its_last_write_is_settled_once(case: Case) -> None:
    resource, other = await case.start(), await case.start()
    completed = await complete(case, resource)
    broken = case.job(other, job_pb2.JOB_STATE_CANCELLED)
    broken.spec.payload.Clear()
    case.jobs.unsuccessful = [broken, case.job(resource, job_pb2.JOB_STATE_CANCELLED)]
    unsuccessful = case.unsuccessful
    assert [await unsuccessful.settle() for _ in range(2)] == [2, 0]
    settled = await case.read(resource)
    is_left = case.step.done == case.lifecycle.machine.initial
    assert (settled.state == completed.state) == is_left
    # A job that was retried and has ended again has a newer version.
    case.jobs.unsuccessful = [case.job(resource, job_pb2.JOB_STATE_CANCELLED, version=60, attempt=2)]
    assert await unsuccessful.settle() == 1


async def test_sweep_settles_lost_ends_and_submits_lost_jobs(case: Case) -> None:
    resource = await case.start()
    await _sweep_until(case, lambda: _is_submitted(case, resource))
    assert await case.read(resource) == resource
    # As if the handler's committed write had been lost.
    case.jobs.job = case.job(resource, job_pb2.JOB_STATE_COMPLETED)
    await _sweep_until(case, lambda: _has_left(case, resource))


async def test_sweep_takes_a_resource_once_per_age_and_leaves_young_ones(case: Case) -> None:
    resource = await case.start()
    hour = timedelta(hours=1)
    rows = case.lifecycle.rows
    async with case.engine.begin() as conn:
        young = await rows.take_stale(conn, age=hour, limit=1_000)
        assert resource.key not in {taken.key for taken in young}
        changed_at = sa.func.now() - 2 * hour
        owner = rows.table.c[rows.key_names[0]] == resource.key[0]
        await conn.execute(sa.update(rows.table).where(owner).values(changed_at=changed_at))
    taken = []
    for _ in range(2):
        async with case.engine.begin() as conn:
            taken += [snapshot.key for snapshot in await rows.take_stale(conn, age=hour, limit=1_000)]
    assert taken.count(resource.key) == 1


async def test_rejected_submit_ends_the_transition(case: Case) -> None:
    resource = await case.start()
    request = case.lifecycle.submit(resource)
    for _ in range(2):
        await case.submitter.on_rejected(request)
    ended = await case.read(resource)
    assert ended.state == case.lifecycle.machine.transitions[case.step.rejected.action][1]
    assert ended.error == case.step.rejected.error
    assert ended.version == resource.version + 1


async def test_rejected_submit_of_an_older_job_changes_nothing(case: Case) -> None:
    resource = await case.start()
    request = case.lifecycle.submit(resource)
    request.job_id = str(ids.uuid7())
    await case.submitter.on_rejected(request)
    assert await case.read(resource) == resource


def _resumes(case: Case, settled: Any) -> bool:
    resume = case.step.resume
    return resume is not None and settled.state in case.lifecycle.machine.transitions[resume][0]


def _refusal(settled: Any) -> type[Exception]:
    """How an attempt of a job that is not resumed ends: like its resource."""
    return worker.JobFailed if settled.error else worker.Cancelled


async def _sweep_until(case: Case, condition: Any) -> None:
    # Other tests leave stale resources behind; a sweep takes 20 of all.
    for _ in range(500):
        await case.settler.sweep(age=timedelta())
        if await condition():
            return
    raise AssertionError("the sweep never came to it")


async def _is_submitted(case: Case, resource: Any) -> bool:
    return any(request.job_id == str(resource.job_id) for request in case.jobs.submitted)


async def _has_left(case: Case, resource: Any) -> bool:
    return bool((await case.read(resource)).state != case.step.working)


def _message(*events: job_events_pb2.JobEvent) -> bus.Received:
    payload = job_events_pb2.JobEvents(events=events).SerializeToString()
    return bus.Received(subject="jobs.events", payload=payload, message_id="")
