"""The job engine, for admins: 403 `admin_required` for other users."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response

from chassis import errors, ids
from gateway import views
from gateway.api import schemas, schemas_engine
from gateway.api.dependencies import Gateway, JobId, PageSize, PageToken, SignedIn, answer, route
from gateway.identity import sessions
from gateway.views import engine
from repruv.auth.v1 import auth_pb2
from repruv.jobs.v1 import jobs_service_pb2, kind_pb2

router = APIRouter(prefix="/admin", tags=["admin"])

_STATES = {name: value for value, name in views.JOB_STATES.items()}


async def admin(session: SignedIn) -> sessions.Session:
    """Return the session of an admin. The services check the role too, but answer other users with their own rows only."""
    if session.user.role != auth_pb2.USER_ROLE_ADMIN:
        raise errors.PermissionDenied("Only admins may do that.", code="admin_required")
    return session


Admin = Annotated[sessions.Session, Depends(admin)]


@router.get("/jobs", **route("Jobs of all users", schemas_engine.OwnedJobs, "A page.", 403))
async def list_jobs(
    session: Admin,
    gateway: Gateway,
    status: Annotated[list[views.JobStatus], Query(description="Only these; any unless given.")] = [],  # noqa: B006
    kind: Annotated[list[schemas.Text], Query(description="Only these; any unless given.")] = [],  # noqa: B006
    owner_id: Annotated[schemas.Text, Query(description="Only this owner's.")] = "",
    page_size: PageSize = 20,
    page_token: PageToken = "",
) -> Response:
    """Return jobs across owners, newest first."""
    rpc_request = jobs_service_pb2.ListJobsRequest(
        owner_id=owner_id,
        states=[_STATES[name] for name in status],
        kinds=kind,
        page_size=page_size,
        page_token=page_token,
    )
    page = await gateway.jobs.list_jobs(rpc_request, user=session.identity)
    return answer({"jobs": [engine.owned_job(job) for job in page.jobs], "next_page_token": page.next_page_token})


@router.post(
    "/jobs/{job_id}/cancel",
    **route("Cancel a job", engine.OwnedJob, "Cancelled, or cancelling.", 403, 404, 409, status=202),
)
async def cancel_job(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """Stop a job of any owner."""
    return answer(engine.owned_job(await gateway.jobs.cancel_job(job_id, user=session.identity)), 202)


@router.post(
    "/jobs/{job_id}/retry", **route("Retry a job", engine.OwnedJob, "Pending again.", 403, 404, 409, status=202)
)
async def retry_job(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """Reopen a job of any owner."""
    return answer(engine.owned_job(await gateway.jobs.retry_job(job_id, user=session.identity)), 202)


@router.get("/kinds", **route("List kinds", schemas_engine.Kinds, "By name.", 403))
async def list_kinds(session: Admin, gateway: Gateway) -> Response:
    """Return all kinds of jobs, with what waits and what bounds them."""
    return answer({"kinds": [engine.kind(kind) for kind in await gateway.engine.list_kinds(user=session.identity)]})


@router.post("/kinds/{kind}/pause", **route("Pause a kind", engine.Kind, "It is paused.", 403))
async def pause_kind(kind: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Let nothing of a kind begin; what runs goes on. `*` is all kinds."""
    return answer(engine.kind(await gateway.engine.pause_kind(kind, user=session.identity)))


@router.post("/kinds/{kind}/resume", **route("Resume a kind", engine.Kind, "It goes on.", 403))
async def resume_kind(kind: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Let a kind go on."""
    return answer(engine.kind(await gateway.engine.resume_kind(kind, user=session.identity)))


@router.put("/kinds/{kind}/limits", **route("Limit a kind", engine.Kind, "The kind and its limits.", 400, 403))
async def set_kind_limits(
    kind: schemas.Text, body: schemas_engine.Limits, session: Admin, gateway: Gateway
) -> Response:
    """Replace all limits of a kind, which need not be known yet."""
    limits = kind_pb2.KindLimits(
        max_running=body.max_running, max_running_per_key=body.max_running_per_key, rate_count=body.rate_count
    )
    if body.rate_period_seconds is not None:
        period = Duration()
        period.FromTimedelta(timedelta(seconds=body.rate_period_seconds))
        limits.rate_period.CopyFrom(period)
    return answer(engine.kind(await gateway.engine.set_kind_limits(kind, limits, user=session.identity)))


@router.get("/schedules", **route("List schedules", schemas_engine.Schedules, "By name.", 403))
async def list_schedules(session: Admin, gateway: Gateway) -> Response:
    """Return all schedules."""
    schedules = await gateway.engine.list_schedules(user=session.identity)
    return answer({"schedules": [engine.schedule(schedule) for schedule in schedules]})


@router.post("/schedules/{name}/pause", **route("Pause a schedule", engine.Schedule, "It is paused.", 403, 404))
async def pause_schedule(name: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Stop a schedule; the times that pass are not caught up."""
    return answer(engine.schedule(await gateway.engine.pause_schedule(name, user=session.identity)))


@router.post("/schedules/{name}/resume", **route("Resume a schedule", engine.Schedule, "It goes on.", 403, 404))
async def resume_schedule(name: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Let a schedule go on with the next time that comes."""
    return answer(engine.schedule(await gateway.engine.resume_schedule(name, user=session.identity)))


@router.post(
    "/schedules/{name}/trigger",
    **route("Trigger a schedule", engine.OwnedJob, "The job that was made.", 400, 403, 404, 409, status=202),
)
async def trigger_schedule(
    name: schemas.Text, session: Admin, gateway: Gateway, body: schemas_engine.Trigger | None = None
) -> Response:
    """Make a job of a schedule now, paused or not."""
    job_id = str(ids.parse(body.job_id, "job_id")) if body and body.job_id else str(ids.uuid7())
    job = await gateway.engine.trigger_schedule(name, job_id, user=session.identity)
    return answer(engine.owned_job(job), 202)


@router.get("/stuck", **route("Stuck jobs", schemas_engine.StuckJobs, "Longest first.", 403))
async def list_stuck_jobs(session: Admin, gateway: Gateway, page_size: PageSize = 20) -> Response:
    """Return jobs that need attention."""
    stuck_jobs = await gateway.engine.list_stuck_jobs(page_size, user=session.identity)
    return answer({"jobs": [engine.stuck(stuck_job) for stuck_job in stuck_jobs]})


@router.get("/workers", **route("List workers", schemas_engine.Workers, "By name.", 403))
async def list_workers(session: Admin, gateway: Gateway) -> Response:
    """Return the workers that were seen lately, or hold jobs."""
    return answer(
        {"workers": [engine.worker(worker) for worker in await gateway.engine.list_workers(user=session.identity)]}
    )
