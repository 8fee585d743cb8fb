"""Jobs as a lifecycle sees them: what their payloads name, and their snapshots as updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack
from uuid import UUID

import worker
from chassis import errors
from lifecycle.machine import ActionT, Error, Fence, JobPhase, JobUpdate, Key
from lifecycle.rows import ResourceT, Rows
from repruv.jobs.v1 import job_pb2

_PHASES = {
    job_pb2.JOB_STATE_SCHEDULED: JobPhase.UNCLAIMED,
    job_pb2.JOB_STATE_PENDING: JobPhase.UNCLAIMED,
    job_pb2.JOB_STATE_RETRYING: JobPhase.UNCLAIMED,
    job_pb2.JOB_STATE_RUNNING: JobPhase.HELD,
    job_pb2.JOB_STATE_CANCELLING: JobPhase.HELD,
    job_pb2.JOB_STATE_COMPLETED: JobPhase.COMPLETED,
    job_pb2.JOB_STATE_FAILED: JobPhase.FAILED,
    job_pb2.JOB_STATE_CANCELLED: JobPhase.CANCELLED,
}


def payload(rows: Rows[ResourceT, ActionT], resource: ResourceT) -> dict[str, Any]:
    """Return what a job's payload names: the key without the owner, and the generation."""
    parts = {name: _to_json(value) for name, value in zip(rows.key_names[1:], resource.key[1:], strict=True)}
    return {**parts, "generation": resource.generation}


def new_job(rows: Rows[ResourceT, ActionT], resource: ResourceT, **options: Unpack[worker.JobOptions]) -> worker.NewJob:
    """Return the submit of the resource's current job: the same for the same generation, so it may be repeated."""
    if resource.job_id is None or resource.job_kind is None:
        raise errors.Internal(f"{rows.table.name} {resource.key} never had a job.")
    options["job_id"], options["owner_id"] = str(resource.job_id), str(resource.key[0])
    return worker.new_job(str(resource.job_kind), payload(rows, resource), **options)


def read_payload(rows: Rows[ResourceT, ActionT], owner_id: str, payload: Mapping[str, Any]) -> tuple[Key, int]:
    """Return the key and the generation that a job is about. Raises ValueError if the payload does not name them."""
    try:
        parts = (owner_id, *(payload[name] for name in rows.key_names[1:]))
        types = (rows.table.c[name].type.python_type for name in rows.key_names)
        return tuple(type_(part) for type_, part in zip(types, parts, strict=True)), int(payload["generation"])
    except (KeyError, TypeError, AttributeError):
        names = ", ".join((*rows.key_names[1:], "generation"))
        raise ValueError(f"the payload does not name {names}") from None


def fence(
    rows: Rows[ResourceT, ActionT], job_id: str, owner_id: str, attempt: int, payload: Mapping[str, Any]
) -> Fence:
    """Return the fence of an attempt. Raises ValueError if the payload does not name the resource."""
    key, generation = read_payload(rows, owner_id, payload)
    return Fence(key=key, job_id=UUID(job_id), generation=generation, attempt=attempt)


def from_job(rows: Rows[ResourceT, ActionT], job: job_pb2.Job) -> JobUpdate | None:
    """Read a snapshot of a job; None if its kind is not of this lifecycle. Raises ValueError if it is broken."""
    if job.spec.kind not in rows.machine.steps or job.state not in _PHASES:
        return None
    key, generation = read_payload(rows, job.spec.owner_id, dict(job.spec.payload))
    return JobUpdate(
        key=key,
        job_id=UUID(job.job_id),
        kind=job.spec.kind,
        generation=generation,
        phase=_PHASES[job.state],
        attempt=job.attempt,
        version=job.version,
        error=Error(code=job.error.code, message=job.error.message) if job.error.code else None,
    )


def _to_json(value: object) -> str | int:
    return value if isinstance(value, str | int) else str(value)
