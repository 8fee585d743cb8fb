"""Batches of submits and finishes: each item is accepted or refused independently, also with concurrent duplicates."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from repruv.jobs.v1 import jobs_service_pb2
from services.jobs import domain, outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from services.jobs.submit import SubmitResult
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi, attempt_of


def code(result: object) -> str:
    """Return the outcome of one item."""
    if isinstance(result, errors.Error):
        return result.code
    return "created" if isinstance(result, tuple) and result[1] else "known"


async def test_refused_submit_does_not_affect_its_batch(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID
) -> None:
    taken, key, parent = ids.uuid7(), uuid4().hex, ids.uuid7()
    holder = ids.uuid7()
    await jobs.submit_many([(taken, spec()), (holder, spec(unique_key=key))])
    new, child = ids.uuid7(), ids.uuid7()
    results = await jobs.submit_many(
        [
            (taken, spec(payload={"another": True})),
            (taken, spec()),
            (ids.uuid7(), spec(unique_key=key)),
            (new, spec()),
            (new, spec()),
            (parent, spec()),
            (child, spec(parent_id=parent)),
            (ids.uuid7(), spec(parent_id=uuid4())),
            (new, spec(payload={"another": True})),
        ]
    )
    assert [code(result) for result in results] == [
        "job_id_taken",
        "known",
        "unique_key_taken",
        "created",
        "known",
        "created",
        "created",
        "parent_not_found",
        "job_id_taken",
    ]
    refusal = results[2]
    assert isinstance(refusal, errors.AlreadyExists)
    assert refusal.details == {"job_id": str(holder)}
    assert (await jobs.get(parent, owner_id=owner_id)).children.total == 1


async def test_first_of_several_with_one_id_or_key_is_accepted(jobs: Operations, spec: jobs_helpers.MakeSpec) -> None:
    job_id, key = ids.uuid7(), uuid4().hex
    same_key = [ids.uuid7() for _ in range(3)][::-1]
    results = await jobs.submit_many(
        [
            (job_id, spec(payload={"n": 1}, unique_key=uuid4().hex + "b")),
            (job_id, spec(payload={"n": 2}, unique_key="a" + uuid4().hex)),
            *((item, spec(unique_key=key)) for item in same_key),
        ]
    )
    assert [code(result) for result in results] == ["created", "job_id_taken", "created", *["unique_key_taken"] * 2]
    assert (await jobs.get(job_id, owner_id=None)).spec.payload == {"n": 1}
    refusal = results[-1]
    assert isinstance(refusal, errors.AlreadyExists)
    assert refusal.details == {"job_id": str(same_key[0])}


async def test_children_may_precede_their_parents_but_not_form_a_cycle(
    jobs: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    parent, child, grandchild, circle, itself = (ids.uuid7() for _ in range(5))
    results = await jobs.submit_many(
        [
            (grandchild, spec(parent_id=child)),
            (child, spec(parent_id=parent)),
            (parent, spec()),
            (circle, spec(parent_id=itself)),
            (itself, spec(parent_id=circle)),
        ]
    )
    assert [code(result) for result in results] == ["created"] * 3 + ["invalid_argument"] * 2
    assert (await jobs.get(child, owner_id=None)).children.total == 1


async def test_repeated_child_is_accepted_after_its_parent_ended(
    jobs: Operations, spec: jobs_helpers.MakeSpec, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    child = ids.uuid7()
    await jobs.submit(child, spec(parent_id=parent.job_id))
    await jobs.finish(parent.job_id, 1, outcomes.Completed())
    job, is_new = await jobs.submit(child, spec(parent_id=parent.job_id))
    assert (job.job_id, is_new) == (child, False)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await submit_job(parent_id=parent.job_id)
    assert excinfo.value.code == "parent_ended"


async def test_payloads_are_equal_for_each_spelling_of_their_numbers(
    jobs: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    job_id, payload = ids.uuid7(), {"large": 1e23, "larger": 1.7e308, "small": 5e-324, "zero": -0.0, "list": [1.0, 2]}
    await jobs.submit(job_id, spec(payload=payload))
    _, is_new = await jobs.submit(job_id, spec(payload=payload))
    assert not is_new
    with pytest.raises(errors.AlreadyExists):
        await jobs.submit(job_id, spec(payload={**payload, "list": [True, 2]}))


async def submit_together(to: Operations, submits: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[SubmitResult]:
    """Submit until no transaction of another holds a row for too long, as every submitter does."""
    while True:
        with contextlib.suppress(errors.Unavailable):
            return await to.submit_many(submits)


async def test_replicas_store_the_same_jobs_once_in_any_order(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    chance = random.Random(7)

    def make() -> list[tuple[UUID, domain.Spec]]:
        return [(ids.uuid7(), spec(unique_key=uuid4().hex if n % 3 else None)) for n in range(200)]

    submits = make()

    async def submit(to: Operations) -> list[str]:
        shuffled = chance.sample(submits, len(submits))
        results = await submit_together(to, shuffled)
        codes = dict(zip((job_id for job_id, _ in shuffled), results, strict=True))
        return [code(codes[job_id]) for job_id, _ in submits]

    for _ in range(4):
        answers = await asyncio.gather(*(submit(to) for to in (jobs, replica, jobs, replica)))
        for codes in zip(*answers, strict=True):
            assert sorted(codes) == ["created", "known", "known", "known"]
        submits = make()


async def test_replicas_agree_on_who_holds_a_unique_key(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    key = uuid4().hex
    results = await asyncio.gather(
        *(to.submit_many([(ids.uuid7(), spec(unique_key=key))]) for to in (jobs, replica) * 4)
    )
    codes = [result for batch in results for result in batch]
    assert sorted(map(code, codes)) == ["created"] + ["unique_key_taken"] * 7
    (holder,) = [result[0].job_id for result in codes if not isinstance(result, errors.Error)]
    assert {result.details["job_id"] for result in codes if isinstance(result, errors.Error)} == {str(holder)}


async def test_each_finish_of_a_batch_is_fenced_independently(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    good, stale, waiting = [await submit_job() for _ in range(3)]
    await jobs.claim(worker="w1", kinds=[kind], limit=2)
    await jobs_helpers.crash(jobs, jobs_engine, stale.job_id)
    done = outcomes.Completed(result={"n": 1})
    results = await jobs.finish_many(
        [(stale.job_id, 1, done), (good.job_id, 1, done), (waiting.job_id, 1, done), (ids.uuid7(), 1, done)]
    )
    codes = [result.code if isinstance(result, errors.Error) else result.state for result in results]
    assert codes == ["lease_lost", State.COMPLETED, "lease_lost", "job_not_found"]
    assert [await jobs_helpers.state(jobs, job.job_id) for job in (stale, waiting)] == [State.RETRYING, State.PENDING]


@pytest.mark.parametrize("step", [1, -1], ids=["lost first", "lost last"])
async def test_outcomes_of_two_attempts_of_one_job_refuse_no_other_outcome_of_their_call(
    jobs_api: JobsApi, kind: str, step: int
) -> None:
    await jobs_api.submit(kind)
    (lost,) = await jobs_api.claim(kind)
    await jobs_api.finish(lost, released={})
    await jobs_api.submit(kind)
    held = await jobs_api.claim(kind, 2)
    assert (lost.job_id, 2) in [(job.job_id, job.attempt) for job in held]
    attempts = [attempt_of(job) for job in (lost, *held)][::step]
    finishes = [
        jobs_service_pb2.FinishJobRequest(attempt=attempt, completed=jobs_service_pb2.FinishJobRequest.Completed())
        for attempt in attempts
    ]
    request = jobs_service_pb2.FinishJobsRequest(finishes=finishes)
    results = (await jobs_api.call(jobs_api.jobs.FinishJobs, request)).results
    assert [result.error.code for result in results] == ["lease_lost", "", ""][::step]


async def test_one_of_two_concurrent_outcomes_of_an_attempt_counts(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job, other = await submit_job(), await submit_job()
    await jobs.claim(worker="w1", kinds=[kind], limit=2)
    done = outcomes.Completed(result={"n": 1})
    first, again, against, beside = await asyncio.gather(
        jobs.finish(job.job_id, 1, done),
        jobs.finish(job.job_id, 1, done),
        jobs.finish(job.job_id, 1, jobs_helpers.ERROR),
        jobs.finish(other.job_id, 1, done),
        return_exceptions=True,
    )
    assert isinstance(first, domain.Job)
    assert first.state is State.COMPLETED
    assert again == first
    assert isinstance(against, errors.Aborted)
    assert isinstance(beside, domain.Job)
    transitions = (await jobs.history(job.job_id, owner_id=None)).transitions
    assert [item["state"] for item in transitions] == ["pending", "running", "completed"]


async def test_finishes_and_heartbeats_of_the_same_jobs_do_not_deadlock(
    jobs: Operations, replica: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """Both lock many rows: they must do so in one order."""
    for _ in range(10):
        await asyncio.gather(*(submit_job() for _ in range(40)))
        held = [(job.job_id, 1) for job in await jobs.claim(worker="w1", kinds=[kind], limit=40)]
        results, *_ = await asyncio.gather(
            jobs.finish_many([(*token, outcomes.Completed()) for token in held]),
            *(replica.heartbeat(worker="w1", held=held[::-1]) for _ in range(4)),
        )
        assert all(isinstance(result, domain.Job) for result in results)
