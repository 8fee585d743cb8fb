"""Groups: a parent waits for its children, reads their states, and cancels them when it is cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import domain
from services.jobs.domain import Children, State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

WAITING = domain.Waiting()


async def family(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str, count: int = 3) -> tuple[UUID, list[UUID]]:
    """Submit children of kind `<kind>.child` of a running parent. The parent waits for them."""
    parent = ids.uuid7()
    await jobs.submit(parent, spec())
    await jobs_helpers.claim_one(jobs, kind)
    children = [ids.uuid7() for _ in range(count)]
    await jobs.submit_many([(child, spec(parent_id=parent, kind=f"{kind}.child")) for child in children])
    waiting = await jobs.finish(parent, 1, WAITING)
    assert (waiting.state, waiting.awaits_children) == (State.SCHEDULED, True)
    return parent, children


async def test_the_last_child_wakes_its_parent(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    parent, children = await family(jobs, spec, kind)
    assert await jobs_helpers.claim(jobs, f"{kind}.child") == children
    for ended, child in enumerate(children):
        await Maintenance(jobs).promote_due()
        job = await jobs.get(parent, owner_id=None)
        assert (job.children, job.awaits_children) == (Children(total=3, ended=ended), True)
        assert (job.progress.done, job.progress.total) == (ended, 3)
        assert await jobs_helpers.claim(jobs, kind) == []
        await jobs_helpers.complete(replica, child)
    await Maintenance(jobs).promote_due()
    again = await jobs_helpers.claim_one(jobs, kind)
    assert (again.job_id, again.attempt, again.children) == (parent, 2, Children(total=3, ended=3))
    assert again.max_attempts == again.spec.max_attempts + 1, "waiting costs no attempt"


async def test_children_that_end_at_once_are_all_counted(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    parent, children = await family(jobs, spec, kind, 12)
    await jobs_helpers.claim(jobs, f"{kind}.child")
    await asyncio.gather(*(jobs_helpers.complete((jobs, replica)[n % 2], child) for n, child in enumerate(children)))
    assert (await jobs.get(parent, owner_id=None)).children == Children(total=12, ended=12)
    await Maintenance(jobs).promote_due()
    assert await jobs_helpers.claim(jobs, kind) == [parent]


async def test_parent_resumes_at_once_when_all_children_have_ended(
    jobs: Operations, spec: jobs_helpers.MakeSpec, submitted: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submitted()
    await jobs_helpers.claim_one(jobs, kind)
    await submitted(parent_id=parent.job_id, kind=f"{kind}.child")
    await jobs_helpers.complete(jobs, *await jobs_helpers.claim(jobs, f"{kind}.child"))
    job = await jobs.finish(parent.job_id, 1, WAITING)
    assert (job.state, job.awaits_children) == (State.SCHEDULED, False)
    await Maintenance(jobs).promote_due()
    assert (await jobs_helpers.claim_one(jobs, kind)).attempt == 2


async def test_parent_reads_the_outcomes_of_its_children(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    parent, children = await family(jobs, spec, kind)
    await jobs_helpers.claim(jobs, f"{kind}.child", 1)
    await jobs.finish(children[0], 1, jobs_helpers.FINAL)
    await jobs.cancel(children[1], owner_id=None, reason="r")
    assert (await jobs.get(parent, owner_id=None)).children == Children(total=3, ended=2, unsuccessful=2)
    await jobs.retry(children[0], owner_id=None)
    assert (await jobs.get(parent, owner_id=None)).children == Children(total=3, ended=1, unsuccessful=1)
    assert await jobs_helpers.claim(jobs, f"{kind}.child") == [children[0], children[2]]
    await jobs_helpers.complete(jobs, children[0], children[2])
    assert (await jobs.get(parent, owner_id=None)).children == Children(total=3, ended=3, unsuccessful=1)


async def test_cancelling_a_parent_cancels_its_children(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    parent, (running, waiting, ended) = await family(jobs, spec, kind)
    await jobs.cancel(ended, owner_id=None, reason="before")
    await jobs_helpers.claim(jobs, f"{kind}.child", 1)
    assert (await jobs.cancel(parent, owner_id=None, reason="enough")).state is State.CANCELLED
    assert await jobs.heartbeat(worker="w1", held=[(running, 1)]) == [(running, 1, State.CANCELLING)]
    assert [(await jobs.get(job_id, owner_id=None)).cancel_reason for job_id in (running, waiting, ended)] == [
        "enough",
        "enough",
        "before",
    ]
    assert await jobs_helpers.state(jobs, waiting) is State.CANCELLED


async def test_cancelling_parent_still_counts_ended_children(
    jobs: Operations, spec: jobs_helpers.MakeSpec, submitted: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submitted()
    await jobs_helpers.claim_one(jobs, kind)
    child = await submitted(parent_id=parent.job_id, kind=f"{kind}.child")
    assert (await jobs.cancel(parent.job_id, owner_id=None, reason="r")).state is State.CANCELLING
    assert await jobs_helpers.state(jobs, child.job_id) is State.CANCELLED
    assert (await jobs.get(parent.job_id, owner_id=None)).children == Children(total=1, ended=1, unsuccessful=1)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await submitted(parent_id=parent.job_id)
    assert caught.value.code == "parent_ended"


@pytest.mark.parametrize("way", ["fail", "overdue", "cancelled"])
async def test_children_of_an_unsuccessful_parent_are_cancelled(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str, way: str
) -> None:
    parent, child, grandchild = ids.uuid7(), ids.uuid7(), ids.uuid7()
    await jobs.submit_many(
        [
            (parent, spec(total_timeout=timedelta(hours=1))),
            (child, spec(parent_id=parent, kind=f"{kind}.child")),
            (grandchild, spec(parent_id=child, kind=f"{kind}.grandchild")),
        ]
    )
    if way == "fail":
        await jobs_helpers.claim_one(jobs, kind)
        await jobs.finish(parent, 1, jobs_helpers.FINAL)
    elif way == "overdue":
        await jobs_helpers.shift(jobs_engine, parent, "deadline = now()")
        await Maintenance(jobs).fail_overdue()
    else:
        await jobs.cancel(parent, owner_id=None, reason="r")
    for _ in range(2):
        await Maintenance(jobs).cancel_orphans()
    assert [await jobs_helpers.state(jobs, job_id) for job_id in (child, grandchild)] == [State.CANCELLED] * 2


async def test_children_of_a_completed_parent_continue(
    jobs: Operations, submitted: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submitted()
    await jobs_helpers.claim_one(jobs, kind)
    child = await submitted(parent_id=parent.job_id, kind=f"{kind}.child")
    await jobs_helpers.complete(jobs, parent.job_id)
    await Maintenance(jobs).cancel_orphans()
    assert await jobs_helpers.claim(jobs, f"{kind}.child") == [child.job_id]


async def test_retried_parent_recounts_its_children(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    parent, (first, second, third) = await family(jobs, spec, kind)
    await jobs_helpers.claim(jobs, f"{kind}.child", 2)
    await jobs.cancel(parent, owner_id=None, reason="r")
    await jobs.finish(first, 1, domain.Completed())
    reopened = await jobs.retry(parent, owner_id=None)
    assert reopened.children == Children(total=3, ended=2, unsuccessful=1)
    await jobs.finish(second, 1, domain.Cancelled(reason="r"))
    assert (await jobs.get(parent, owner_id=None)).children == Children(total=3, ended=3, unsuccessful=2)
    assert await jobs_helpers.state(jobs, third) is State.CANCELLED


async def test_only_a_job_of_the_same_owner_can_be_a_parent(jobs: Operations, submitted: jobs_helpers.Submit) -> None:
    strange = await submitted(owner_id=uuid4())
    for parent_id in (strange.job_id, uuid4()):
        with pytest.raises(errors.NotFound) as caught:
            await submitted(parent_id=parent_id)
        assert (caught.value.code, caught.value.field) == ("parent_not_found", "parent_id")
