"""Storing jobs: many at once, each accepted or refused by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import domain, storage
from services.jobs.domain import Job

Result = tuple[Job, bool] | errors.Error
"""The job as it stands and whether it is new; or why it was refused."""

_TRIES = 3


async def store(conn: AsyncConnection, wanted: Sequence[tuple[UUID, domain.Spec]]) -> list[Result]:
    """Store jobs, parents before their children."""
    results: dict[int, Result] = {}
    waiting = list(enumerate(wanted))
    while waiting:
        expected = {job_id for _, (job_id, _) in waiting}
        now = [item for item in waiting if item[1][1].parent_id not in expected]
        if not now:
            error = errors.InvalidArgument("parent_id must not lead back to the job.", field="parent_id")
            results |= {position: error for position, _ in waiting}
            break
        results |= await _store_generation(conn, now)
        taken = {position for position, _ in now}
        waiting = [item for item in waiting if item[0] not in taken]
    return [results[position] for position in range(len(wanted))]


async def _store_generation(
    conn: AsyncConnection, wanted: Sequence[tuple[int, tuple[UUID, domain.Spec]]]
) -> dict[int, Result]:
    results: dict[int, Result] = {}
    parents = await storage.lock_jobs(conn, {spec.parent_id for _, (_, spec) in wanted if spec.parent_id})
    remaining = []
    for position, (job_id, spec) in wanted:
        if refusal := _refuse_parent(spec, parents):
            results[position] = refusal
        else:
            remaining.append((position, (job_id, spec)))
    added: Counter[UUID] = Counter()
    for _ in range(_TRIES):
        if not remaining:
            break
        stored = await storage.insert_jobs(conn, [item for _, item in remaining])
        added.update(job.spec.parent_id for job in stored.values() if job.spec.parent_id)
        met = [(position, item) for position, item in remaining if item[0] not in stored]
        # Of two with one id in one call the second one has met the first.
        for position, (job_id, _) in remaining:
            if job_id in stored:
                results[position] = (stored.pop(job_id), True)
                met = [entry for entry in met if entry[0] != position]
        met = [(position, item) for position, item in remaining if position not in results]
        known = await storage.get_jobs(conn, [job_id for _, (job_id, _) in met]) if met else {}
        holders = (
            await storage.holders(conn, {spec.unique_key for _, (_, spec) in met if spec.unique_key}) if met else {}
        )
        remaining = []
        for position, (job_id, spec) in met:
            if (found := _explain(job_id, spec, known, holders)) is None:
                # What it met has ended in between.
                remaining.append((position, (job_id, spec)))
            else:
                results[position] = found
    if added:
        await storage.add_children(conn, added)
    busy = errors.Unavailable("Somebody else submits the same; try again.", code="submit_contended")
    return results | {position: busy for position, _ in remaining}


def _refuse_parent(spec: domain.Spec, parents: Mapping[UUID, Job]) -> errors.Error | None:
    if spec.parent_id is None:
        return None
    parent = parents.get(spec.parent_id)
    if parent is None or parent.spec.owner_id != spec.owner_id:
        return errors.NotFound("parent_id names no job of this owner.", code="parent_not_found", field="parent_id")
    if parent.state in domain.TERMINAL | {domain.State.CANCELLING}:
        message = f"The parent takes no more children: it is {parent.state}."
        return errors.FailedPrecondition(message, code="parent_ended", field="parent_id")
    return None


def _explain(job_id: UUID, spec: domain.Spec, known: Mapping[UUID, Job], holders: Mapping[str, UUID]) -> Result | None:
    """Say what an insert has met; None if it is not there any more."""
    if (job := known.get(job_id)) is not None:
        if (job.spec.owner_id, job.spec.kind, job.spec.payload) == (spec.owner_id, spec.kind, spec.payload):
            return job, False
        return errors.AlreadyExists("This job_id belongs to another job.", code="job_id_taken", field="job_id")
    if (holder := holders.get(spec.unique_key or "")) is not None:
        return unique_key_taken(holder)
    return None


def unique_key_taken(holder: UUID | None) -> errors.AlreadyExists:
    """Refuse a second living job with a unique key; `holder` is the first one."""
    details = {"job_id": str(holder)} if holder else {}
    named = f" ({holder})" if holder else ""
    return errors.AlreadyExists(
        f"A job with this unique_key has not ended yet{named}.",
        code="unique_key_taken",
        field="unique_key",
        details=details,
    )
