"""Storing submitted jobs: many per call, each accepted or refused separately."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import domain, storage
from services.jobs.domain import Job

SubmitResult = tuple[Job, bool] | errors.Error
"""The job and whether it is new, or the error."""

_TRIES = 3


async def store(
    conn: AsyncConnection, submits: Sequence[tuple[UUID, domain.Spec]], sequence_of: storage.SequenceByJob | None
) -> list[SubmitResult]:
    """Store jobs, parents before their children. With `sequence_of` the insert also numbers their events where it can."""
    results: dict[int, SubmitResult] = {}
    if any(spec.concurrency_key or spec.parent_id or spec.unique_key for _, spec in submits):
        # Further locks follow the insert, or the insert waits for another commit.
        sequence_of = None
    waiting = list(enumerate(submits))
    while waiting:
        job_ids = {job_id for _, (job_id, _) in waiting}
        generation = [item for item in waiting if item[1][1].parent_id not in job_ids]
        if not generation:
            error = errors.InvalidArgument("parent_id must not lead back to the job.", field="parent_id")
            results |= {position: error for position, _ in waiting}
            break
        results |= await _store_generation(conn, generation, sequence_of)
        stored = {position for position, _ in generation}
        waiting = [item for item in waiting if item[0] not in stored]
    return [results[position] for position in range(len(submits))]


async def _store_generation(
    conn: AsyncConnection,
    submits: Sequence[tuple[int, tuple[UUID, domain.Spec]]],
    sequence_of: storage.SequenceByJob | None,
) -> dict[int, SubmitResult]:
    """Store jobs none of which is a parent of another."""
    results: dict[int, SubmitResult] = {}
    parents = await storage.lock_jobs(conn, {spec.parent_id for _, (_, spec) in submits if spec.parent_id})
    refused: dict[int, errors.Error] = {}
    for position, (_, spec) in submits:
        if refusal := _refuse_parent(spec, parents):
            refused[position] = refusal
    # A repeated submit returns the stored job whatever its parent's state.
    existing = await storage.get_jobs(conn, {job_id for position, (job_id, _) in submits if position in refused})
    for position, (job_id, spec) in submits:
        if position in refused:
            results[position] = _explain(job_id, spec, existing) or refused[position]
    remaining = [item for item in submits if item[0] not in refused]
    added: Counter[UUID] = Counter()
    for _ in range(_TRIES):
        if not remaining:
            break
        # Of several submits with one id the first is stored; the others conflict with it.
        first: dict[UUID, tuple[int, domain.Spec]] = {}
        for position, (job_id, spec) in remaining:
            first.setdefault(job_id, (position, spec))
        items = [(job_id, spec) for job_id, (_, spec) in first.items()]
        stored = await storage.insert_jobs(conn, items, sequence_of)
        added.update(job.spec.parent_id for job in stored.values() if job.spec.parent_id)
        results |= {first[job_id][0]: (job, True) for job_id, job in stored.items()}
        conflicting = [(position, item) for position, item in remaining if position not in results]
        existing = await storage.get_jobs(conn, {job_id for _, (job_id, _) in conflicting})
        holders = await storage.holders(conn, {spec.unique_key for _, (_, spec) in conflicting if spec.unique_key})
        deleted = await storage.deleted(conn, {job_id for _, (job_id, _) in conflicting} - existing.keys())
        remaining = []
        for position, (job_id, spec) in conflicting:
            if (result := _explain(job_id, spec, existing, holders, deleted)) is None:
                # The conflicting job has ended in the meantime: try again.
                remaining.append((position, (job_id, spec)))
            else:
                results[position] = result
    if added:
        await storage.add_children(conn, added)
    contended = errors.Unavailable("Another caller submits the same job. Try again.", code="submit_contended")
    return results | {position: contended for position, _ in remaining}


def _refuse_parent(spec: domain.Spec, parents: Mapping[UUID, Job]) -> errors.Error | None:
    if spec.parent_id is None:
        return None
    parent = parents.get(spec.parent_id)
    if parent is None or parent.spec.owner_id != spec.owner_id:
        return errors.NotFound("parent_id names no job of this owner.", code="parent_not_found", field="parent_id")
    if parent.state in domain.FINISHED | {domain.State.CANCELLING}:
        message = f"The parent takes no more children: it is {parent.state}."
        return errors.FailedPrecondition(message, code="parent_ended", field="parent_id")
    return None


def _explain(
    job_id: UUID,
    spec: domain.Spec,
    existing: Mapping[UUID, Job],
    holders: Mapping[str, UUID] = MappingProxyType({}),
    deleted: Collection[UUID] = (),
) -> SubmitResult | None:
    """Return the result of an insert that conflicted; None if the conflicting job no longer exists or has ended."""
    if (job := existing.get(job_id)) is not None:
        if (name := _difference(job.spec, spec)) is None:
            return job, False
        message = f"This job_id belongs to a job with another {name}."
        return errors.AlreadyExists(message, code="job_id_taken", field="job_id", details={"differs": name})
    if job_id in deleted:
        return errors.AlreadyExists("This job has ended and was deleted.", code="job_deleted", field="job_id")
    if (holder := holders.get(spec.unique_key or "")) is not None:
        return unique_key_taken(holder)
    return None


def _difference(existing: domain.Spec, spec: domain.Spec) -> str | None:
    """Return the first field in which a repeated submit differs from the stored job; None if it is the same job.

    Fields that the caller leaves unset do not count: the defaults of the kind may have changed. Nor does the time of a child: its
    id stands for its position, and each attempt of the parent may compute the time again.
    """
    if existing.owner_id != spec.owner_id:
        return "owner_id"
    if existing.kind != spec.kind:
        return "kind"
    if _canonical(existing.payload) != _canonical(spec.payload):
        return "payload"
    compared = spec.explicit - {"run_at"} if spec.parent_id else spec.explicit
    return next((name for name in sorted(compared) if getattr(existing, name) != getattr(spec, name)), None)


def _canonical(payload: dict[str, Any]) -> str:
    # The database returns 1e23 as an integer, and -0.0 as 0: compare all numbers as floats.
    return json.dumps(json.loads(json.dumps(payload), parse_int=_number, parse_float=_number), sort_keys=True)


def _number(digits: str) -> float:
    return float(digits) + 0.0


def unique_key_taken(holder: UUID | None) -> errors.AlreadyExists:
    """Return the error for a unique key that the unfinished job `holder` has."""
    details = {"job_id": str(holder)} if holder else {}
    suffix = f" ({holder})" if holder else ""
    return errors.AlreadyExists(
        f"A job with this unique_key has not ended yet{suffix}.",
        code="unique_key_taken",
        field="unique_key",
        details=details,
    )
