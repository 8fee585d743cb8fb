"""Order of claims: by priority, then owners take turns."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from chassis import ids
from services.jobs import domain
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def submit(jobs: Operations, spec: jobs_helpers.MakeSpec, count: int, **fields: object) -> list[UUID]:
    """Submit many jobs at once; return their ids."""
    job_ids = [ids.uuid7() for _ in range(count)]
    # As every call that submits does first.
    await jobs.kinds.get({spec(**fields).kind})
    await jobs.submit_many([(job_id, spec(**fields)) for job_id in job_ids])
    return job_ids


async def owners(jobs: Operations, kind: str, limit: int) -> list[UUID]:
    """Claim jobs; return their owners."""
    return [job.spec.owner_id for job in await jobs.claim(worker="w1", kinds=[kind], limit=limit)]


@pytest.mark.parametrize("at_once", [True, False])
async def test_one_job_does_not_wait_for_a_thousand_of_another_owner(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str, at_once: bool
) -> None:
    for count in [1_000] if at_once else [1] * 30:
        await submit(jobs, spec, count)
    assert set(await owners(jobs, kind, 5)) == {owner_id}
    await Maintenance(jobs).advance_fair_ranks()
    other = uuid4()
    await submit(jobs, spec, 1, owner_id=other)
    assert other in await owners(jobs, kind, 2)


async def test_owners_take_turns(jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str) -> None:
    others = [uuid4(), uuid4()]
    for owner in (owner_id, *others):
        await submit(jobs, spec, 4, owner_id=owner)
    for _ in range(4):
        assert sorted(await owners(jobs, kind, 3)) == sorted([owner_id, *others])


async def test_earlier_work_is_not_held_against_an_owner(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    await submit(jobs, spec, 300)
    for _ in range(3):
        assert len(await owners(jobs, kind, 100)) == 100
        await Maintenance(jobs).advance_fair_ranks()
    other = uuid4()
    await submit(jobs, spec, 2, owner_id=other)
    await submit(jobs, spec, 2)
    assert set(await owners(jobs, kind, 2)) == {owner_id, other}


async def test_idle_owner_saves_up_no_priority(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    other = uuid4()
    await submit(jobs, spec, 1, owner_id=other)
    await submit(jobs, spec, 100)
    await owners(jobs, kind, 60)
    await Maintenance(jobs).advance_fair_ranks()
    await submit(jobs, spec, 10, owner_id=other)
    assert (await owners(jobs, kind, 6)).count(owner_id) == 3


async def test_urgent_jobs_precede_jobs_that_waited_longer(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    other = uuid4()
    await submit(jobs, spec, 3, owner_id=other)
    urgent = await submit(jobs, spec, 3, priority=1)
    assert await jobs_helpers.claim(jobs, kind, 3) == urgent


async def test_kinds_take_turns(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    other = f"{kind}.other"
    await submit(jobs, spec, 50)
    await jobs_helpers.claim(jobs, kind, 40)
    await submit(jobs, spec, 10, kind=other)
    claimed = await jobs.claim(worker="w1", kinds=[kind, other], limit=10)
    assert sorted(job.spec.kind for job in claimed) == [kind] * 5 + [other] * 5


async def test_retried_job_keeps_its_fair_rank(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    first, *_ = await submit(jobs, spec, 20)
    assert await jobs_helpers.claim(jobs, kind, 1) == [first]
    await jobs.finish(first, 1, domain.Released())
    assert await jobs_helpers.claim(jobs, kind, 1) == [first]
