"""Which jobs still move their resource: a retry of one that a newer job has replaced would end cancelled."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import errors, protobuf
from gateway import labels, views
from gateway.container import Container
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

DEMO, CONNECTION = ("demo.enable", "demo.disable"), ("auth.connect", "auth.disconnect")
"""The kinds of jobs that move a resource."""
NEWEST = 50
"""The newest jobs of an owner among which a newer one is searched."""


def is_connection(job: job_pb2.Job) -> bool:
    """Return whether a job moves a connection."""
    return job.spec.kind in CONNECTION


def is_current(job: job_pb2.Job, demo: views.Json, connections: Sequence[views.Connection] | None) -> bool:
    """Return whether a retry of the reader's own job would still move its resource; True if that is unknown."""
    if job.spec.kind in DEMO:
        # A dismissed failure is disabled, and so is a cancelled enable, which may be retried.
        statuses = {"failed"} if views.job_state(job) == "failed" else {"failed", "disabled"}
        return demo["status"] == "unknown" or (demo["job_id"] == job.job_id and demo["status"] in statuses)
    if is_connection(job) and connections is not None:
        return any(connection["job_id"] == job.job_id for connection in connections)
    return True


async def is_replaced(container: Container, job: job_pb2.Job, *, identity: str) -> bool:
    """Return whether the owner has a newer job of the same resource, for operators, who do not read the resource."""
    kinds = DEMO if job.spec.kind in DEMO else CONNECTION if is_connection(job) else ()
    if not kinds:
        return False
    request = jobs_service_pb2.ListJobsRequest(owner_id=job.spec.owner_id, kinds=kinds, page_size=NEWEST)
    newest = (await container.jobs.list_jobs.send(identity, request)).jobs
    return any(other.job_id > job.job_id and _resource(other) == _resource(job) for other in newest)


async def has_work_to_undo(container: Container, job: job_pb2.Job, *, identity: str) -> bool:
    """Return whether an undo job that failed could still run: its job is cancelled as before; True for other kinds."""
    payload = protobuf.from_struct(job.spec.payload)
    if not (job.spec.kind.endswith(labels.UNDO) and "job_id" in payload):
        return True
    try:
        undone = (await container.jobs.get_job(identity, job_id=payload["job_id"])).job
    except errors.NotFound:
        return False
    return views.job_state(undone) == "cancelled" and undone.attempt == payload.get("attempt")


async def retry(container: Container, identity: str, *, job_id: str) -> jobs_service_pb2.RetryJobResponse:
    """Reopen a job, unless a newer one has replaced it. Raises `FailedPrecondition` `job_replaced`, and as RetryJob."""
    job = (await container.jobs.get_job(identity, job_id=job_id)).job
    if await is_replaced(container, job, identity=identity):
        raise errors.FailedPrecondition("A newer job has replaced this one.", code="job_replaced")
    return await container.jobs.retry_job(identity, job_id=job_id)


def _resource(job: job_pb2.Job) -> object:
    """Return what distinguishes the resources of an owner: the platform of a connection."""
    return protobuf.from_struct(job.spec.payload).get("platform") if is_connection(job) else None
