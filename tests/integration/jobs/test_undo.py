"""Undo: another job undoes a cancelled one, before a retry is possible."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.jobs import domain, kinds, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def undo_jobs(jobs: Operations, kind: str) -> list[domain.Job]:
    """Read the undo jobs of a kind."""
    page = await jobs.lists.page(
        owner_id=None, states=[], kinds=[f"{kind}.undo"], parent_id=None, page_size=100, page_token=""
    )
    return page.jobs


async def cancelled(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> UUID:
    """Cancel a running job whose kind has an undo."""
    job = await submit_job(has_undo=True, payload={"account": 7})
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.cancel(job.job_id, owner_id=None, reason="r")
    assert await undo_jobs(jobs, kind) == [], "its worker has not answered yet"
    await jobs.finish(job.job_id, 1, outcomes.Cancelled(reason="r"))
    return job.job_id


async def test_cancelled_job_is_undone(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID
) -> None:
    job_id = await cancelled(jobs, submit_job, kind)
    (undo,) = await undo_jobs(jobs, kind)
    assert undo.spec.payload == {"job_id": str(job_id), "attempt": 1, "payload": {"account": 7}}
    assert (undo.spec.owner_id, undo.state) == (owner_id, State.PENDING)
    assert await jobs_helpers.claim(jobs, f"{kind}.undo") == [undo.job_id]


@pytest.mark.parametrize("way", ["between_attempts", "dead_worker", "handler"])
async def test_job_is_undone_after_each_way_of_cancelling(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, way: str
) -> None:
    job = await submit_job(has_undo=True)
    await jobs_helpers.claim_one(jobs, kind)
    if way == "handler":
        await jobs.finish(job.job_id, 1, outcomes.Cancelled(reason="superseded"))
    elif way == "between_attempts":
        await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)
        await jobs.cancel(job.job_id, owner_id=None, reason="r")
    else:
        await jobs.cancel(job.job_id, owner_id=None, reason="r")
        await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    assert await jobs_helpers.state(jobs, job.job_id) is State.CANCELLED
    assert len(await undo_jobs(jobs, kind)) == 1


async def test_only_started_and_cancelled_jobs_are_undone(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    waiting = await submit_job(has_undo=True)
    await jobs.cancel(waiting.job_id, owner_id=None, reason="r")
    for outcome in (outcomes.Completed(), jobs_helpers.FINAL):
        job = await submit_job(has_undo=True)
        await jobs_helpers.claim_one(jobs, kind)
        await jobs.finish(job.job_id, 1, outcome)
    plain = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(plain.job_id, 1, outcomes.Cancelled(reason="r"))
    assert await undo_jobs(jobs, kind) == []


async def test_a_job_is_not_retried_before_it_is_undone(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job_id = await cancelled(jobs, submit_job, kind)
    (undo,) = await undo_jobs(jobs, kind)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await jobs.retry(job_id, owner_id=None)
    assert (excinfo.value.code, excinfo.value.details) == ("undo_in_progress", {"job_id": str(undo.job_id)})
    await jobs_helpers.claim_one(jobs, f"{kind}.undo")
    await jobs.finish(undo.job_id, 1, outcomes.Completed())
    assert (await jobs.retry(job_id, owner_id=None)).state is State.PENDING


async def test_kind_with_too_long_a_name_for_its_undo_is_refused() -> None:
    kinds.Registration(kind="k" * 95, has_undo=True)
    with pytest.raises(errors.InvalidArgument) as excinfo:
        kinds.Registration(kind="k" * 96, has_undo=True)
    assert excinfo.value.field == "kind"


async def test_undo_job_has_the_slot_of_the_cancelled_job(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """Otherwise the undo would remove what the next job of the key writes."""
    first = await submit_job(has_undo=True, concurrency_key="key")
    waiting = await submit_job(has_undo=True, concurrency_key="key")
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.cancel(first.job_id, owner_id=None, reason="r")
    await jobs.finish(first.job_id, 1, outcomes.Cancelled(reason="r"))
    (undo,) = await undo_jobs(jobs, kind)
    await Maintenance(jobs).admit_waiting()
    later = await submit_job(concurrency_key="key")
    assert await jobs_helpers.claim(jobs, kind) == []
    assert await jobs_helpers.claim(jobs, f"{kind}.undo") == [undo.job_id]
    await jobs.finish(undo.job_id, 1, outcomes.Snoozed(delay=jobs_helpers.HOUR))
    await Maintenance(jobs).admit_waiting()
    assert await jobs_helpers.claim(jobs, kind) == [], "it has not ended yet"
    await jobs.cancel(undo.job_id, owner_id=None, reason="r")
    assert await jobs_helpers.claim(jobs, kind) == [waiting.job_id]
    await jobs_helpers.complete(jobs, waiting.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [later.job_id]


async def test_no_job_is_cancelled_without_its_undo(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID
) -> None:
    refused = await submit_job(has_undo=True)
    other = await submit_job()
    await jobs.claim(worker="w1", kinds=[kind], limit=2)
    holder = await submit_job(unique_key=domain.undo_key(refused.job_id))
    outcome = outcomes.Cancelled(reason="r")
    error, ended = await jobs.finish_many([(refused.job_id, 1, outcome), (other.job_id, 1, outcome)])
    assert isinstance(error, errors.AlreadyExists)
    assert isinstance(ended, domain.Job)
    states = [await jobs_helpers.state(jobs, job_id) for job_id in (refused.job_id, other.job_id)]
    assert states == [State.RUNNING, State.CANCELLED]
    await jobs.cancel(holder.job_id, owner_id=None, reason="r")
    await jobs.finish(refused.job_id, 1, outcome)
    assert len(await undo_jobs(jobs, kind)) == 1


async def test_unique_keys_of_undo_jobs_are_reserved(spec: jobs_helpers.MakeSpec) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        spec(unique_key="undo:anything").validate()
    assert excinfo.value.field == "unique_key"


async def test_undo_job_is_retried_only_while_its_job_is_as_it_was_cancelled(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """Otherwise a failed undo of an earlier attempt would remove what the job has written since."""
    job_id = await cancelled(jobs, submit_job, kind)
    (undo,) = await undo_jobs(jobs, kind)

    async def fail(attempt: int) -> None:
        await jobs_helpers.claim_one(jobs, f"{kind}.undo")
        await jobs.finish(undo.job_id, attempt, jobs_helpers.FINAL)

    async def refused() -> None:
        with pytest.raises(errors.FailedPrecondition) as excinfo:
            await jobs.retry(undo.job_id, owner_id=None)
        assert (excinfo.value.code, excinfo.value.details) == ("job_not_retryable", {"job_id": str(job_id)})

    await fail(1)
    assert (await jobs.retry(undo.job_id, owner_id=None)).state is State.PENDING
    await fail(2)
    await jobs.retry(job_id, owner_id=None)
    await refused()
    await jobs_helpers.claim_one(jobs, kind)
    await refused()
    await jobs.finish(job_id, 2, outcomes.Cancelled(reason="r"))
    await jobs_helpers.complete(jobs, *await jobs_helpers.claim(jobs, f"{kind}.undo"))
    await refused()
    await jobs.retry(job_id, owner_id=None)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.complete(jobs, job_id)
    await refused()
