"""Reopening finished jobs, and with them the family that must run again."""

from __future__ import annotations

from chassis import errors
from services.jobs import domain, storage, submit
from services.jobs.domain import Job, State
from services.jobs.transaction import Transaction, require_moved

MAX_CHILDREN = 200
"""Descendants reopened together with a job; another retry reopens the next ones."""


async def reopen(tx: Transaction, job: Job) -> Job:
    """Reopen a locked job, the failed parts of a group with it, and the groups that it is a part of.

    Raises `job_not_retryable`, `undo_in_progress`, `unique_key_taken`, `parent_ended`.
    """
    if refusal := await _refusal(tx, job):
        raise refusal
    parents = await _parents(tx, job)
    if domain.is_repaired_by_children(job):
        await _reopen_children(tx, job, MAX_CHILDREN)
    reopened = await _reopen(tx, job)
    # Children first: a parent is counted when it is reopened.
    for parent in parents:
        await _reopen(tx, parent)
    return reopened


async def _parents(tx: Transaction, job: Job) -> list[Job]:
    """Lock and return the ended groups above a job, from the bottom up."""
    parents: list[Job] = []
    parent_id = job.spec.parent_id
    while parent_id and (parent := await storage.lock_job(tx.conn, parent_id)):
        if parent.state not in domain.ORPHANS_CHILDREN:
            break
        if parent.state is State.CANCELLING or not domain.is_repaired_by_children(parent):
            message = f"The parent of this job is {parent.state}; retry the parent first."
            raise errors.FailedPrecondition(message, code="parent_ended", details={"job_id": str(parent_id)})
        if refusal := await _refusal(tx, parent):
            raise refusal
        parents.append(parent)
        parent_id = parent.spec.parent_id
    return parents


async def _reopen_children(tx: Transaction, parent: Job, limit: int) -> int:
    """Reopen unsuccessful children of a locked group, except those whose undo or successor runs; return their number."""
    count = 0
    for child in await storage.lock_unsuccessful_children(tx.conn, parent.job_id, limit=limit):
        if count >= limit:
            break
        if await _refusal(tx, child):
            continue
        count += 1
        if domain.is_repaired_by_children(child):
            count += await _reopen_children(tx, child, limit - count)
        await _reopen(tx, child)
    return count


async def _reopen(tx: Transaction, job: Job) -> Job:
    reopened = require_moved(await storage.reopen(tx.conn, job))
    tx.transitions.append((reopened, "retried"))
    return reopened


async def _refusal(tx: Transaction, job: Job) -> errors.Error | None:
    if job.state not in domain.TRANSITIONS[domain.Action.RETRY][0]:
        message = f"Only failed and cancelled jobs can be retried; this one is {job.state}."
        return errors.FailedPrecondition(message, code="job_not_retryable")
    if job.spec.kind.startswith(domain.LEGACY):
        message = "This job ran in the previous system; it cannot run here."
        return errors.FailedPrecondition(message, code="job_not_retryable")
    # An undo job that failed long ago must not remove what its job has written since.
    undone_id = domain.undone_job_id(job)
    if undone_id and not domain.is_to_undo(await storage.lock_job(tx.conn, undone_id), job):
        message = "The job that this one undoes has been retried or deleted."
        return errors.FailedPrecondition(message, code="job_not_retryable", details={"job_id": str(undone_id)})
    undo_key, unique_key = domain.undo_key(job.job_id), job.spec.unique_key or ""
    holders = await storage.holders(tx.conn, {undo_key, unique_key})
    if undo_key in holders:
        message = "The undo job of this job has not ended yet. Try again later."
        return errors.FailedPrecondition(message, code="undo_in_progress", details={"job_id": str(holders[undo_key])})
    return submit.unique_key_taken(holders[unique_key]) if unique_key in holders else None
