"""Jobs: their state and history, and the actions on them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway import views
from gateway.api import schemas
from gateway.api.dependencies import Gateway, JobId, PageSize, PageToken, ReadSession, WriteSession
from gateway.api.responses import answer, header, response_headers, route
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

router = APIRouter(prefix="/jobs", tags=["jobs"])

POLL_SECONDS = "2"
_POLLED_HEADERS = response_headers(
    ETag="The version of the job.", Retry_After="Seconds until the next poll, while the job is unfinished."
)
_POLLED: dict[str, Any] = {
    "parameters": [header("If-None-Match", "The `ETag` of an earlier response.")],
    "responses": {
        "200": {"headers": _POLLED_HEADERS},
        "304": {"description": "The job has not changed.", "headers": _POLLED_HEADERS},
    },
}
"""OpenAPI of conditional requests."""


@router.get("", **route("List jobs", views.Jobs, "A page of them, newest first unless requested otherwise."))
async def list_jobs(
    session: ReadSession,
    gateway: Gateway,
    status: Annotated[schemas.Few[views.JobStatus], Query(description="Only these states; by default all.")] = [],  # noqa: B006
    kind: Annotated[schemas.Few[schemas.Text], Query(description="Only these kinds; by default all.")] = [],  # noqa: B006
    parent_id: Annotated[schemas.Text, Query(description="Only children of this job.")] = "",
    oldest_first: bool = False,
    page_size: PageSize = 20,
    page_token: PageToken = "",
) -> Response:
    """Return the user's jobs."""
    rpc_request = jobs_service_pb2.ListJobsRequest(
        owner_id=session.user_id,
        states=[views.JOB_STATE_NUMBERS[name] for name in status],
        kinds=kind,
        parent_id=parent_id,
        oldest_first=oldest_first,
        page_size=page_size,
        page_token=page_token,
    )
    return answer(views.jobs(await gateway.jobs.list_jobs.send(session.identity, rpc_request)))


@router.get("/{job_id}", **route("Get a job", views.Job, "The job.", 404, extra=_POLLED))
@router.get(
    "/{job_id}/status",
    operation_id="jobs_get_job_status",
    **route("Get a job (same)", views.Job, "The job.", 404, extra=_POLLED),
)
async def get_job(job_id: JobId, request: Request, session: ReadSession, gateway: Gateway) -> Response:
    """Return a job. With `If-None-Match` the response for an unchanged job is an empty 304."""
    job = await gateway.pending_jobs.get_job(job_id, identity=session.identity)
    headers = _cache_headers(job)
    if _matches(", ".join(request.headers.getlist("if-none-match")), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return answer(views.job(job), headers=headers)


@router.get(
    "/{job_id}/history",
    **route("Get the history of a job", views.JobHistory, "Its attempts and transitions, oldest first.", 404),
)
async def get_job_history(job_id: JobId, session: ReadSession, gateway: Gateway) -> Response:
    """Return a job's attempts and transitions."""
    call = partial(gateway.jobs.get_job_history, session.identity, job_id=job_id)
    history = await gateway.pending_jobs.wait(job_id, call, identity=session.identity)
    return answer(views.job_history(job_id, history))


@router.post(
    "/{job_id}/cancel",
    **route(
        "Cancel a job", views.Job, "Cancelled, or cancelling until its worker has answered.", 403, 404, 409, status=202
    ),
)
async def cancel_job(job_id: JobId, session: WriteSession, gateway: Gateway) -> Response:
    """Stop a job: at once if no worker holds it, else by asking the worker."""
    call = partial(gateway.jobs.cancel_job, session.identity, job_id=job_id)
    response = await gateway.pending_jobs.wait(job_id, call, identity=session.identity)
    return answer(views.job(response.job), 202)


@router.post(
    "/{job_id}/retry", **route("Retry a job", views.Job, "The same job, pending again.", 403, 404, 409, status=202)
)
async def retry_job(job_id: JobId, session: WriteSession, gateway: Gateway) -> Response:
    """Reopen a failed or cancelled job with a fresh budget of attempts."""
    call = partial(gateway.jobs.retry_job, session.identity, job_id=job_id)
    response = await gateway.pending_jobs.wait(job_id, call, identity=session.identity)
    return answer(views.job(response.job), 202)


def _cache_headers(job: job_pb2.Job) -> dict[str, str]:
    headers = {"ETag": f'"{job.version}"', "Cache-Control": "private, no-store"}
    if views.job_state(job) not in views.FINISHED:
        headers["Retry-After"] = POLL_SECONDS
    return headers


def _matches(condition: str, tag: str) -> bool:
    etags = {part.strip().removeprefix("W/") for part in condition.split(",")}
    return tag in etags or "*" in etags
