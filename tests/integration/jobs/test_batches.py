"""Submits and finishes of many at once: each is accepted or refused independently, also with concurrent duplicates."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import domain
from services.jobs.domain import State
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


def code(result: object) -> str:
    """Return the outcome of one of many."""
    if isinstance(result, errors.Error):
        return result.code
    return "created" if isinstance(result, tuple) and result[1] else "known"


async def test_one_that_is_refused_does_not_keep_the_others_back(
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


async def test_of_several_with_one_id_or_one_key_the_first_is_taken(
    jobs: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    job_id, key = ids.uuid7(), uuid4().hex
    same_key = [ids.uuid7() for _ in range(3)][::-1]
    results = await jobs.submit_many(
        [
            (job_id, spec(payload={"n": 1}, unique_key=uuid4().hex + "b")),
            (job_id, spec(payload={"n": 2}, unique_key="a" + uuid4().hex)),
            *((one, spec(unique_key=key)) for one in same_key),
        ]
    )
    assert [code(result) for result in results] == ["created", "job_id_taken", "created", *["unique_key_taken"] * 2]
    assert (await jobs.get(job_id, owner_id=None)).spec.payload == {"n": 1}
    refusal = results[-1]
    assert isinstance(refusal, errors.AlreadyExists)
    assert refusal.details == {"job_id": str(same_key[0])}


async def test_children_may_come_before_their_parents_but_not_lead_back_to_themselves(
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


async def test_a_child_that_is_submitted_again_is_known_although_its_parent_has_ended(
    jobs: Operations, spec: jobs_helpers.MakeSpec, submitted: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submitted()
    await jobs_helpers.claim_one(jobs, kind)
    child = ids.uuid7()
    await jobs.submit(child, spec(parent_id=parent.job_id))
    await jobs.finish(parent.job_id, 1, domain.Completed())
    job, is_new = await jobs.submit(child, spec(parent_id=parent.job_id))
    assert (job.job_id, is_new) == (child, False)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await submitted(parent_id=parent.job_id)
    assert caught.value.code == "parent_ended"


async def test_the_same_payload_is_the_same_whatever_its_numbers(jobs: Operations, spec: jobs_helpers.MakeSpec) -> None:
    job_id, payload = ids.uuid7(), {"large": 1e23, "larger": 1.7e308, "small": 5e-324, "zero": -0.0, "list": [1.0, 2]}
    await jobs.submit(job_id, spec(payload=payload))
    _, is_new = await jobs.submit(job_id, spec(payload=payload))
    assert not is_new
    with pytest.raises(errors.AlreadyExists):
        await jobs.submit(job_id, spec(payload={**payload, "list": [True, 2]}))


async def test_replicas_that_are_told_the_same_in_any_order_store_it_once(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    chance = random.Random(7)

    def make() -> list[tuple[UUID, domain.Spec]]:
        return [(ids.uuid7(), spec(unique_key=uuid4().hex if n % 3 else None)) for n in range(200)]

    wanted = make()

    async def submit(to: Operations) -> list[str]:
        mine = chance.sample(wanted, len(wanted))
        said = dict(zip((job_id for job_id, _ in mine), await to.submit_many(mine), strict=True))
        return [code(said[job_id]) for job_id, _ in wanted]

    for _ in range(4):
        answers = await asyncio.gather(*(submit(to) for to in (jobs, replica, jobs, replica)))
        for said in zip(*answers, strict=True):
            assert sorted(said) == ["created", "known", "known", "known"]
        wanted = make()


async def test_replicas_agree_on_who_holds_a_unique_key(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    key = uuid4().hex
    results = await asyncio.gather(
        *(to.submit_many([(ids.uuid7(), spec(unique_key=key))]) for to in (jobs, replica) * 4)
    )
    said = [result for batch in results for result in batch]
    assert sorted(map(code, said)) == ["created"] + ["unique_key_taken"] * 7
    (holder,) = [result[0].job_id for result in said if not isinstance(result, errors.Error)]
    assert {result.details["job_id"] for result in said if isinstance(result, errors.Error)} == {str(holder)}


async def test_each_of_many_finishes_is_fenced_by_itself(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: jobs_helpers.Submit, kind: str
) -> None:
    good, stale, waiting = [await submitted() for _ in range(3)]
    await jobs.claim(worker="w1", kinds=[kind], limit=2)
    await jobs_helpers.crash(jobs, jobs_engine, stale.job_id)
    done = domain.Completed(result={"n": 1})
    results = await jobs.finish_many(
        [(stale.job_id, 1, done), (good.job_id, 1, done), (waiting.job_id, 1, done), (ids.uuid7(), 1, done)]
    )
    said = [result.code if isinstance(result, errors.Error) else result.state for result in results]
    assert said == ["lease_lost", State.COMPLETED, "lease_lost", "job_not_found"]
    assert [await jobs_helpers.state(jobs, job.job_id) for job in (stale, waiting)] == [State.RETRYING, State.PENDING]


async def test_of_two_outcomes_of_an_attempt_that_come_at_once_one_counts(
    jobs: Operations, submitted: jobs_helpers.Submit, kind: str
) -> None:
    job, other = await submitted(), await submitted()
    await jobs.claim(worker="w1", kinds=[kind], limit=2)
    done = domain.Completed(result={"n": 1})
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
    _, transitions = await jobs.history(job.job_id, owner_id=None)
    assert [one["state"] for one in transitions] == ["pending", "running", "completed"]


async def test_finishes_and_heartbeats_of_the_same_jobs_do_not_deadlock(
    jobs: Operations, replica: Operations, submitted: jobs_helpers.Submit, kind: str
) -> None:
    """Both lock many rows: they must do so in one order."""
    for _ in range(10):
        await asyncio.gather(*(submitted() for _ in range(40)))
        held = [(job.job_id, 1) for job in await jobs.claim(worker="w1", kinds=[kind], limit=40)]
        results, *_ = await asyncio.gather(
            jobs.finish_many([(*token, domain.Completed()) for token in held]),
            *(replica.heartbeat(worker="w1", held=held[::-1]) for _ in range(4)),
        )
        assert all(isinstance(result, domain.Job) for result in results)
