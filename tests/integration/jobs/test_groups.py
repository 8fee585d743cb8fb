"""Groups: a parent waits for its children, reads their states, and cancels them when it is cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import domain, outcomes
from services.jobs.domain import Children, State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

WAITING = outcomes.Waiting()
CHILDREN_FAILED = outcomes.Failed(
    error=domain.JobError(code=domain.CHILDREN_FAILED, message="Parts did not succeed."), retryable=False
)


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
    jobs: Operations, spec: jobs_helpers.MakeSpec, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await submit_job(parent_id=parent.job_id, kind=f"{kind}.child")
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
    jobs: Operations, spec: jobs_helpers.MakeSpec, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    child = await submit_job(parent_id=parent.job_id, kind=f"{kind}.child")
    assert (await jobs.cancel(parent.job_id, owner_id=None, reason="r")).state is State.CANCELLING
    assert await jobs_helpers.state(jobs, child.job_id) is State.CANCELLED
    assert (await jobs.get(parent.job_id, owner_id=None)).children == Children(total=1, ended=1, unsuccessful=1)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await submit_job(parent_id=parent.job_id)
    assert excinfo.value.code == "parent_ended"


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
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    parent = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    child = await submit_job(parent_id=parent.job_id, kind=f"{kind}.child")
    await jobs_helpers.complete(jobs, parent.job_id)
    await Maintenance(jobs).cancel_orphans()
    assert await jobs_helpers.claim(jobs, f"{kind}.child") == [child.job_id]


async def test_retried_parent_recounts_its_children(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    parent, (first, second, third) = await family(jobs, spec, kind)
    await jobs_helpers.claim(jobs, f"{kind}.child", 2)
    await jobs.cancel(parent, owner_id=None, reason="r")
    await jobs.finish(first, 1, outcomes.Completed())
    reopened = await jobs.retry(parent, owner_id=None)
    assert reopened.children == Children(total=3, ended=2, unsuccessful=1)
    await jobs.finish(second, 1, outcomes.Cancelled(reason="r"))
    assert (await jobs.get(parent, owner_id=None)).children == Children(total=3, ended=3, unsuccessful=2)
    assert await jobs_helpers.state(jobs, third) is State.CANCELLED


async def test_only_a_job_of_the_same_owner_can_be_a_parent(jobs: Operations, submit_job: jobs_helpers.Submit) -> None:
    strange = await submit_job(owner_id=uuid4())
    for parent_id in (strange.job_id, uuid4()):
        with pytest.raises(errors.NotFound) as excinfo:
            await submit_job(parent_id=parent_id)
        assert (excinfo.value.code, excinfo.value.field) == ("parent_not_found", "parent_id")


async def failed_group(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> list[UUID]:
    """Submit a group of three children; one completes, one fails, one is cancelled; then the group fails. Return all ids."""
    group, *children = (ids.uuid7() for _ in range(4))
    part = f"{kind}.child"
    await jobs.submit_many([(group, spec()), *((child, spec(parent_id=group, kind=part)) for child in children)])
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(group, 1, WAITING)
    await jobs.cancel(children[2], owner_id=None, reason="r")
    assert await jobs_helpers.claim(jobs, part) == children[:2]
    await jobs.finish(children[0], 1, outcomes.Completed())
    await jobs.finish(children[1], 1, jobs_helpers.FINAL)
    await end_group(jobs, kind, CHILDREN_FAILED)
    return [group, *children]


async def end_group(jobs: Operations, kind: str, outcome: outcomes.Outcome) -> None:
    await Maintenance(jobs).promote_due()
    job = await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, job.attempt, outcome)


async def test_retried_child_of_a_failed_group_repairs_the_group(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    group, _, failed, cancelled = await failed_group(jobs, spec, kind)
    for child in (failed, cancelled):
        await jobs.retry(child, owner_id=None)
        await Maintenance(jobs).cancel_orphans()
    reopened = await jobs_helpers.claim_one(jobs, kind)
    assert (reopened.job_id, reopened.children) == (group, Children(total=3, ended=1))
    await jobs.finish(group, reopened.attempt, WAITING)
    await jobs_helpers.complete(jobs, *await jobs_helpers.claim(jobs, f"{kind}.child"))
    await end_group(jobs, kind, outcomes.Completed())
    assert (await jobs.get(group, owner_id=None)).children == Children(total=3, ended=3)


async def test_retried_group_reopens_its_unsuccessful_children(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    group, _, failed, cancelled = await failed_group(jobs, spec, kind)
    assert (await jobs.retry(group, owner_id=None)).children == Children(total=3, ended=1)
    assert await jobs_helpers.claim(jobs, f"{kind}.child") == [failed, cancelled]
    reopened = await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(group, reopened.attempt, WAITING)
    await jobs_helpers.complete(jobs, failed, cancelled)
    await end_group(jobs, kind, outcomes.Completed())
    assert await jobs_helpers.state(jobs, group) is State.COMPLETED


async def test_retry_repairs_groups_within_groups(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    outer, inner, leaf = (ids.uuid7() for _ in range(3))
    family = [(outer, spec()), (inner, spec(parent_id=outer, kind=f"{kind}.inner"))]
    await jobs.submit_many([*family, (leaf, spec(parent_id=inner, kind=f"{kind}.leaf"))])
    for job_id, kind_of_job, outcome in (
        (leaf, f"{kind}.leaf", jobs_helpers.FINAL),
        (inner, f"{kind}.inner", CHILDREN_FAILED),
        (outer, kind, CHILDREN_FAILED),
    ):
        attempt = (await jobs_helpers.claim_one(jobs, kind_of_job)).attempt
        await jobs.finish(job_id, attempt, outcome)
    for retried in (leaf, outer):
        await jobs.retry(retried, owner_id=None)
        states = [await jobs_helpers.state(jobs, job_id) for job_id in (outer, inner, leaf)]
        assert states == [State.PENDING] * 3
        for job_id, above in ((outer, None), (inner, outer), (leaf, inner)):
            job = await jobs.get(job_id, owner_id=None)
            assert (job.spec.parent_id, job.children.ended) == (above, 0)
        await Maintenance(jobs).cancel_orphans()
        for job_id in (leaf, inner, outer):
            job = await jobs.get(job_id, owner_id=None)
            claimed = await jobs_helpers.claim_one(jobs, job.spec.kind)
            await jobs.finish(job_id, claimed.attempt, jobs_helpers.FINAL if job_id == leaf else CHILDREN_FAILED)


@pytest.mark.parametrize("outcome", [jobs_helpers.FINAL, outcomes.Cancelled(reason="r")])
async def test_child_of_a_parent_that_ended_for_its_own_reason_is_not_retried_alone(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, outcome: outcomes.Outcome
) -> None:
    parent = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    child = await submit_job(parent_id=parent.job_id, kind=f"{kind}.child")
    await jobs.cancel(child.job_id, owner_id=None, reason="r")
    await jobs.finish(parent.job_id, 1, outcome)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await jobs.retry(child.job_id, owner_id=None)
    assert (excinfo.value.code, excinfo.value.details) == ("parent_ended", {"job_id": str(parent.job_id)})
    await jobs.retry(parent.job_id, owner_id=None)
    await jobs.retry(child.job_id, owner_id=None)
    assert await jobs_helpers.claim(jobs, f"{kind}.child") == [child.job_id]
