"""Storing jobs: many at once, each accepted or refused by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import domain, storage
from services.jobs.domain import Job

Result = tuple[Job, bool] | errors.Error
"""The job as it stands and whether it is new; or why it was refused."""

_TRIES = 3


async def store(
    conn: AsyncConnection, wanted: Sequence[tuple[UUID, domain.Spec]], numbers: storage.Numbers | None
) -> list[Result]:
    """Store jobs, parents before their children; with `numbers` their events are numbered at once where that is possible."""
    results: dict[int, Result] = {}
    if any(spec.concurrency_key or spec.parent_id or spec.unique_key for _, spec in wanted):
        # More will be locked after the jobs, or somebody's commit waited for.
        numbers = None
    waiting = list(enumerate(wanted))
    while waiting:
        expected = {job_id for _, (job_id, _) in waiting}
        now = [item for item in waiting if item[1][1].parent_id not in expected]
        if not now:
            error = errors.InvalidArgument("parent_id must not lead back to the job.", field="parent_id")
            results |= {position: error for position, _ in waiting}
            break
        results |= await _store_generation(conn, now, numbers)
        taken = {position for position, _ in now}
        waiting = [item for item in waiting if item[0] not in taken]
    return [results[position] for position in range(len(wanted))]


async def _store_generation(
    conn: AsyncConnection,
    wanted: Sequence[tuple[int, tuple[UUID, domain.Spec]]],
    numbers: storage.Numbers | None,
) -> dict[int, Result]:
    results: dict[int, Result] = {}
    parents = await storage.lock_jobs(conn, {spec.parent_id for _, (_, spec) in wanted if spec.parent_id})
    refused: dict[int, errors.Error] = {}
    for position, (_, spec) in wanted:
        if refusal := _refuse_parent(spec, parents):
            refused[position] = refusal
    # What is stored already is known, whatever has become of its parent.
    known = await storage.get_jobs(conn, {job_id for position, (job_id, _) in wanted if position in refused})
    for position, (job_id, spec) in wanted:
        if position in refused:
            results[position] = _explain(job_id, spec, known, {}) or refused[position]
    remaining = [item for item in wanted if item[0] not in refused]
    added: Counter[UUID] = Counter()
    for _ in range(_TRIES):
        if not remaining:
            break
        # Of several with one id in one call the first is stored, and the others meet it.
        first: dict[UUID, tuple[int, domain.Spec]] = {}
        for position, (job_id, spec) in remaining:
            first.setdefault(job_id, (position, spec))
        items = [(job_id, spec) for job_id, (_, spec) in first.items()]
        stored = await storage.insert_jobs(conn, items, numbers)
        added.update(job.spec.parent_id for job in stored.values() if job.spec.parent_id)
        results |= {first[job_id][0]: (job, True) for job_id, job in stored.items()}
        met = [(position, item) for position, item in remaining if position not in results]
        known = await storage.get_jobs(conn, {job_id for _, (job_id, _) in met})
        holders = await storage.holders(conn, {spec.unique_key for _, (_, spec) in met if spec.unique_key})
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
        if (job.spec.owner_id, job.spec.kind) == (spec.owner_id, spec.kind) and _canonical(
            job.spec.payload
        ) == _canonical(spec.payload):
            return job, False
        return errors.AlreadyExists("This job_id belongs to another job.", code="job_id_taken", field="job_id")
    if (holder := holders.get(spec.unique_key or "")) is not None:
        return unique_key_taken(holder)
    return None


def _canonical(payload: dict[str, Any]) -> str:
    # A number is a number, but the database gives 1e23 back as an integer, and -0.0 as 0.
    return json.dumps(json.loads(json.dumps(payload), parse_int=_number, parse_float=_number), sort_keys=True)


def _number(digits: str) -> float:
    return float(digits) + 0.0


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
