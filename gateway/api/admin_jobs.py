"""The job engine, for admins: 403 `admin_required` for other users."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response

from chassis import ids
from gateway import payloads, search, views
from gateway.api import schemas, schemas_engine
from gateway.api.dependencies import Admin, Gateway, JobId, PageSize, PageToken
from gateway.api.responses import answer, route
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2, kind_pb2

router = APIRouter(prefix="/admin", tags=["admin"])


async def job_filter(
    status: Annotated[schemas.Few[views.JobStatus], Query(description="Only these states; by default all.")] = [],  # noqa: B006
    kind: Annotated[schemas.Few[schemas.Text], Query(description="Only these kinds; by default all.")] = [],  # noqa: B006
    owner_id: Annotated[schemas.Text, Query(description="Only this owner's.")] = "",
    worker: Annotated[schemas.Text, Query(description="Only if its latest attempt runs or ran there.")] = "",
    error_code: Annotated[schemas.Text, Query(description="Only with this error code.")] = "",
    created_from: Annotated[
        schemas.Moment | None, Query(description="Only those submitted at or after this time.")
    ] = None,
    created_until: Annotated[schemas.Moment | None, Query(description="Only those submitted before this time.")] = None,
    fingerprint: Annotated[
        schemas.Text, Query(description="Only if its latest attempt failed with it; `none`: without an exception.")
    ] = "",
    text: Annotated[schemas.Text, Query(description="Only with this text in a message or key.")] = "",
    system: Annotated[bool, Query(description="Whether to include the system's jobs.")] = True,
    finished_from: Annotated[
        schemas.Moment | None, Query(description="Only those that ended at or after this time.")
    ] = None,
    finished_until: Annotated[
        schemas.Moment | None, Query(description="Only those that ended before this time.")
    ] = None,
    problem: Annotated[
        engine.ProblemReason | None, Query(description="Only those that need attention for this reason.")
    ] = None,
    without_kind: Annotated[schemas.Few[schemas.Text], Query(description="None of these kinds.")] = [],  # noqa: B006
    on_hold: Annotated[bool, Query(description="Whether to leave out jobs that are not on hold.")] = False,
) -> admin_service_pb2.JobFilter:
    """Read the filter of a list of jobs."""
    message = admin_service_pb2.JobFilter(
        states=[views.JOB_STATE_NUMBERS[name] for name in status],
        kinds=kind,
        owner_id=owner_id,
        worker=worker,
        error_code=error_code,
        fingerprint=fingerprint,
        text=text,
        without_system=not system,
        problem=problem or "",
        without_kinds=without_kind,
        on_hold=on_hold,
    )
    for name, moment in (
        ("create_time_from", created_from),
        ("create_time_until", created_until),
        ("finish_time_from", finished_from),
        ("finish_time_until", finished_until),
    ):
        if moment is not None:
            getattr(message, name).FromDatetime(moment)
    return message


JobFilter = Annotated[admin_service_pb2.JobFilter, Depends(job_filter)]


@router.get("/jobs", **route("Jobs of all users", schemas_engine.JobRows, "A page.", 403))
async def list_jobs(
    session: Admin,
    gateway: Gateway,
    job_filter: JobFilter,
    order: Annotated[
        schemas_engine.JobOrder, Query(description="By submit, or by a duration among the newest 20,000.")
    ] = "newest",
    page_size: PageSize = 20,
    page_token: PageToken = "",
) -> Response:
    """Return jobs across owners. A page can have fewer jobs than `page_size` and still have a next one."""
    rpc_request = admin_service_pb2.SearchJobsRequest(
        filter=job_filter, order=engine.JOB_ORDERS[order], page_size=page_size, page_token=page_token
    )
    page = await gateway.engine.search_jobs.send(session.identity, rpc_request)
    return answer(
        {
            "jobs": [engine.job_row(row) for row in page.rows],
            "next_page_token": page.next_page_token,
            "previous_page_token": page.previous_page_token,
        }
    )


@router.get("/jobs/count", **route("Count jobs", engine.JobCounts, "Up to 10,000.", 403))
async def count_jobs(session: Admin, gateway: Gateway, job_filter: JobFilter) -> Response:
    """Count the jobs that match a filter, by kind and state."""
    return answer(engine.job_counts(await gateway.engine.count_jobs(session.identity, filter=job_filter)))


@router.post(
    "/jobs/change",
    **route(
        "Change many jobs", schemas_engine.BulkChanged, "The job that changes the jobs.", 400, 403, 409, status=202
    ),
)
async def change_jobs(
    session: Admin, gateway: Gateway, job_filter: JobFilter, body: schemas_engine.BulkChange
) -> Response:
    """Retry, cancel, hold or release all jobs that match a filter, the oldest first, by a job of the caller."""
    response = await gateway.engine.change_jobs(
        session.identity,
        filter=job_filter,
        change=engine.JOB_CHANGES[body.change],
        per_second=body.per_second,
        dry_run=body.dry_run,
        job_id=_new_job_id(body.job_id),
    )
    job = engine.owned_job(response.job) if response.HasField("job") else None
    return answer({"job": job, "counts": engine.job_counts(response.counts)}, 202)


@router.post("/jobs", **route("Run a job", engine.OwnedJob, "The submitted job.", 400, 403, 404, 409, status=202))
async def run_job(body: schemas_engine.Run, session: Admin, gateway: Gateway) -> Response:
    """Submit a job of any kind that a worker has registered, for the caller or another owner."""
    rpc_request = admin_service_pb2.RunJobRequest(
        job_id=_new_job_id(body.job_id),
        kind=body.kind,
        payload=payloads.to_struct(body.payload),
        owner_id=body.owner_id,
    )
    if body.run_at is not None:
        rpc_request.run_at.FromDatetime(body.run_at)
    return answer(engine.owned_job((await gateway.engine.run_job.send(session.identity, rpc_request)).job), 202)


@router.post(
    "/jobs/{job_id}/cancel",
    **route("Cancel a job", engine.OwnedJob, "Cancelled, or cancelling.", 403, 404, 409, status=202),
)
async def cancel_job(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """Stop a job of any owner."""
    return answer(engine.owned_job((await gateway.jobs.cancel_job(session.identity, job_id=job_id)).job), 202)


@router.post(
    "/jobs/{job_id}/retry", **route("Retry a job", engine.OwnedJob, "Pending again.", 403, 404, 409, status=202)
)
async def retry_job(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """Reopen a job of any owner."""
    return answer(engine.owned_job((await gateway.jobs.retry_job(session.identity, job_id=job_id)).job), 202)


@router.post("/jobs/{job_id}/hold", **route("Hold a job", engine.OwnedJob, "On hold.", 403, 404, 409, status=202))
async def hold_job(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """Put a waiting job of any owner on hold. 409 `job_not_holdable` for a job that runs or has ended."""
    return answer(engine.owned_job((await gateway.engine.hold_job(session.identity, job_id=job_id)).job), 202)


@router.post("/jobs/{job_id}/release", **route("Release a job", engine.OwnedJob, "Released.", 403, 404, status=202))
async def release_job(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """End the hold of a job: it runs at its former time, or now if that has passed."""
    return answer(engine.owned_job((await gateway.engine.release_job(session.identity, job_id=job_id)).job), 202)


@router.get(
    "/jobs/{job_id}/record",
    **route("Get all that is kept of a job", engine.JobRecord, "With payload and tracebacks.", 403, 404),
)
async def get_job_record(job_id: JobId, session: Admin, gateway: Gateway) -> Response:
    """Return a job of any owner with its payload, its attempts and their exceptions."""
    response = await gateway.jobs.get_job(session.identity, job_id=job_id)
    history = await gateway.jobs.get_job_history(session.identity, job_id=job_id)
    return answer(engine.job_record(response.job, history))


@router.get("/jobs/{job_id}/log", **route("List log lines of a job", engine.LogLines, "The newest page.", 403, 404))
async def list_log_lines(
    job_id: JobId,
    session: Admin,
    gateway: Gateway,
    attempt: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only of this attempt; 0: of all.")] = 0,
    page_size: Annotated[int, Query(ge=1, le=1_000)] = 200,
    page_token: PageToken = "",
) -> Response:
    """Return the lines that handlers of a job have logged, the newest page first."""
    page = await gateway.engine.list_log_lines(
        session.identity, job_id=job_id, attempt=attempt, page_size=page_size, page_token=page_token
    )
    return answer(engine.log_lines(page))


@router.get("/rates", **route("Rates of kinds", engine.Rates, "In 60, 24 or 168 points.", 403))
async def get_rates(session: Admin, gateway: Gateway, span: schemas_engine.RateSpan = "hour") -> Response:
    """Return how many jobs ended in the last hour, day or week, and how long they waited and ran."""
    return answer(engine.rates(await gateway.engine.get_rates(session.identity, span=engine.RATE_SPANS[span])))


@router.get("/problems", **route("What needs attention", schemas_engine.Problems, "Worst first.", 403))
async def list_problems(session: Admin, gateway: Gateway) -> Response:
    """Return jobs that need attention, grouped by reason and kind."""
    response = await gateway.engine.list_problems(session.identity)
    return answer({"problems": [engine.problem(problem) for problem in response.problems]})


@router.get("/errors", **route("Failed jobs by cause", schemas_engine.ErrorGroups, "Latest first.", 403))
async def list_error_groups(session: Admin, gateway: Gateway, kind: schemas.Text = "") -> Response:
    """Return failed jobs, grouped by kind, error code and fingerprint."""
    response = await gateway.engine.list_error_groups(session.identity, kind=kind)
    return answer({"groups": [engine.error_group(group) for group in response.groups]})


@router.get("/kinds", **route("List kinds", schemas_engine.Kinds, "By name.", 403))
async def list_kinds(session: Admin, gateway: Gateway) -> Response:
    """Return all kinds with their limits and counts."""
    return answer({"kinds": [engine.kind(kind) for kind in (await gateway.engine.list_kinds(session.identity)).kinds]})


@router.get(
    "/kinds/{kind}", **route("Get a kind", engine.KindDetails, "With its payload's schema and changes.", 403, 404)
)
async def get_kind(kind: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Return a kind, the JSON Schema of its payload, and who paused, resumed and limited it."""
    return answer(engine.kind_details(await gateway.engine.get_kind(session.identity, kind=kind)))


@router.post("/kinds/{kind}/pause", **route("Pause a kind", engine.Kind, "It is paused.", 403))
async def pause_kind(kind: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Stop claims of a kind; running jobs continue. `*` means all kinds."""
    return answer(engine.kind((await gateway.engine.pause_kind(session.identity, kind=kind)).kind))


@router.post("/kinds/{kind}/resume", **route("Resume a kind", engine.Kind, "Resumed.", 403))
async def resume_kind(kind: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """End the pause of a kind."""
    return answer(engine.kind((await gateway.engine.resume_kind(session.identity, kind=kind)).kind))


@router.put("/kinds/{kind}/limits", **route("Limit a kind", engine.Kind, "The kind and its limits.", 400, 403))
async def set_kind_limits(
    kind: schemas.Text, body: schemas_engine.Limits, session: Admin, gateway: Gateway
) -> Response:
    """Replace all limits of a kind; no worker needs to have registered it."""
    limits = kind_pb2.KindLimits(
        max_running=body.max_running, max_running_per_key=body.max_running_per_key, rate_count=body.rate_count
    )
    if body.rate_period_seconds is not None:
        period = Duration()
        period.FromTimedelta(timedelta(seconds=body.rate_period_seconds))
        limits.rate_period.CopyFrom(period)
    return answer(engine.kind((await gateway.engine.set_kind_limits(session.identity, kind=kind, limits=limits)).kind))


@router.get("/schedules", **route("List schedules", schemas_engine.Schedules, "By name.", 403))
async def list_schedules(session: Admin, gateway: Gateway) -> Response:
    """Return all schedules."""
    schedules = (await gateway.engine.list_schedules(session.identity)).schedules
    return answer({"schedules": [engine.schedule(schedule) for schedule in schedules]})


@router.get("/schedules/{name}", **route("Get a schedule", engine.ScheduleDetails, "With its times.", 403, 404))
async def get_schedule(name: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Return a schedule with its next and its latest times."""
    return answer(engine.schedule_details(await gateway.engine.get_schedule(session.identity, name=name)))


@router.put("/schedules/{name}", **route("Set a schedule", engine.Schedule, "Created or replaced.", 400, 403, 404, 429))
async def set_schedule(
    name: schemas.Text, body: schemas_engine.NewSchedule, session: Admin, gateway: Gateway
) -> Response:
    """Create or replace a schedule of operators, whose name begins with `operator.`."""
    registration = kind_pb2.ScheduleRegistration(
        name=name,
        kind=body.kind,
        payload=payloads.to_struct(body.payload),
        cron=body.cron,
        time_zone=body.time_zone,
        catch_up=kind_pb2.CatchUp.Value(f"CATCH_UP_{body.catch_up.upper()}"),
        overlap=engine.OVERLAPS[body.overlap],
    )
    response = await gateway.engine.set_schedule(session.identity, registration=registration)
    return answer(engine.schedule(response.schedule))


@router.delete(
    "/schedules/{name}",
    response_class=Response,
    **route("Delete a schedule", None, "Deleted; its jobs stay.", 403, 404, 409, status=204),
)
async def delete_schedule(name: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Delete a schedule of operators. 409 `schedule_registered` for one that workers register."""
    await gateway.engine.delete_schedule(session.identity, name=name)
    return Response(status_code=204)


@router.post("/schedules/{name}/pause", **route("Pause a schedule", engine.Schedule, "It is paused.", 403, 404))
async def pause_schedule(name: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Pause a schedule; missed times are not caught up."""
    return answer(engine.schedule((await gateway.engine.pause_schedule(session.identity, name=name)).schedule))


@router.post("/schedules/{name}/resume", **route("Resume a schedule", engine.Schedule, "Resumed.", 403, 404))
async def resume_schedule(name: schemas.Text, session: Admin, gateway: Gateway) -> Response:
    """Resume a schedule with its next time."""
    return answer(engine.schedule((await gateway.engine.resume_schedule(session.identity, name=name)).schedule))


@router.post(
    "/schedules/{name}/trigger",
    **route("Trigger a schedule", engine.OwnedJob, "The submitted job.", 400, 403, 404, 409, status=202),
)
async def trigger_schedule(
    name: schemas.Text, session: Admin, gateway: Gateway, body: schemas_engine.Trigger | None = None
) -> Response:
    """Submit a job of a schedule now, even if it is paused."""
    job_id = _new_job_id(body.job_id if body else "")
    job = (await gateway.engine.trigger_schedule(session.identity, name=name, job_id=job_id)).job
    return answer(engine.owned_job(job), 202)


@router.get("/search", **route("Search everything", search.SearchResult, "The hits.", 403))
async def search_everything(
    session: Admin,
    gateway: Gateway,
    q: Annotated[schemas.Text, Query(description="A job, request or user id, an address, an error text or a name.")],
) -> Response:
    """Find jobs, users, errors, kinds, schedules and workers."""
    return answer(await search.search(gateway, q, identity=session.identity))


@router.get("/stuck", **route("Stuck jobs", schemas_engine.StuckJobs, "Longest first.", 403))
async def list_stuck_jobs(session: Admin, gateway: Gateway, page_size: PageSize = 20) -> Response:
    """Return jobs that need attention."""
    stuck_jobs = (await gateway.engine.list_stuck_jobs(session.identity, page_size=page_size)).jobs
    return answer({"jobs": [engine.stuck(stuck_job) for stuck_job in stuck_jobs]})


@router.get("/workers", **route("List workers", schemas_engine.Workers, "By name.", 403))
async def list_workers(session: Admin, gateway: Gateway) -> Response:
    """Return the workers that were seen recently or hold jobs."""
    return answer(
        {"workers": [engine.worker(worker) for worker in (await gateway.engine.list_workers(session.identity)).workers]}
    )


def _new_job_id(requested: str) -> str:
    """Return the requested id, which makes a repeated request the same job, or a new one."""
    return str(ids.parse(requested, "job_id") if requested else ids.uuid7())
