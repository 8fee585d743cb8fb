"""Kinds of the jobs service, schedules and operators, and the owners of kinds; over real gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf import json_format

from chassis import errors, ids
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2, kind_pb2
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import WORKER, JobsApi

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
FINISHED = {job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}
CLEANUP = "jobs.cleanup"


@pytest.fixture
def ended(jobs_api: JobsApi, eventually: Eventually) -> Callable[[str], Awaitable[job_pb2.Job]]:
    """Wait for the end of a job."""

    async def get(job_id: str) -> job_pb2.Job:
        job: job_pb2.Job = (
            await jobs_api.call(jobs_api.jobs.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id))
        ).job
        return job

    async def wait(job_id: str) -> job_pb2.Job:
        async def has_ended() -> bool:
            return (await get(job_id)).state in FINISHED

        await eventually(has_ended)
        return await get(job_id)

    return wait


Ended = Callable[[str], Awaitable[job_pb2.Job]]


async def schedules(jobs_api: JobsApi) -> dict[str, kind_pb2.Schedule]:
    request = admin_service_pb2.ListSchedulesRequest()
    response = await jobs_api.call(jobs_api.admin.ListSchedules, request, service="jobs")
    return {schedule.registration.name: schedule for schedule in response.schedules}


async def register_schedule(jobs_api: JobsApi, kind: str, **fields: Any) -> str:
    """Register a schedule that will not fire within this test; return its name."""
    name = f"{kind}.yearly"
    schedule = kind_pb2.ScheduleRegistration(**{"name": name, "kind": kind, "cron": "0 0 29 2 *", **fields})
    request = jobs_service_pb2.RegisterKindsRequest(
        worker=WORKER, kinds=[kind_pb2.KindRegistration(kind=kind)], schedules=[schedule]
    )
    await jobs_api.call(jobs_api.jobs.RegisterKinds, request)
    return name


async def trigger(jobs_api: JobsApi, name: str, job_id: str = "", **caller: str) -> job_pb2.Job:
    request = admin_service_pb2.TriggerScheduleRequest(name=name, job_id=job_id or str(ids.uuid7()))
    answer = await jobs_api.call(jobs_api.admin.TriggerSchedule, request, **{"service": "jobs", **caller})
    job: job_pb2.Job = answer.job
    return job


async def test_service_cleans_up_on_schedule(jobs_api: JobsApi, ended: Ended, eventually: Eventually) -> None:
    async def is_registered() -> bool:
        return CLEANUP in await schedules(jobs_api)

    await eventually(is_registered)
    schedule = (await schedules(jobs_api))[CLEANUP]
    assert (schedule.registration.kind, schedule.registration.cron) == (CLEANUP, "*/5 * * * *")
    assert schedule.registration.overlap == kind_pb2.OVERLAP_SKIP
    assert schedule.HasField("next_time")
    job = await ended((await trigger(jobs_api, CLEANUP)).job_id)
    assert job.state == job_pb2.JOB_STATE_COMPLETED
    assert UUID(job.spec.owner_id) == UUID(int=0)
    assert set(json_format.MessageToDict(job.result)) == {"jobs", "workers", "kinds", "schedules", "is_complete"}


async def group_of_two(jobs_api: JobsApi, kind: str, owner_id: str) -> tuple[str, list[job_pb2.Job]]:
    """Submit a group with two children in one call; return its id, and the claimed children."""
    group_id = str(ids.uuid7())
    specs = [
        (group_id, job_pb2.JobSpec(kind="jobs.group", owner_id=owner_id)),
        *((str(ids.uuid7()), job_pb2.JobSpec(kind=kind, owner_id=owner_id, parent_id=group_id)) for _ in range(2)),
    ]
    request = jobs_service_pb2.SubmitJobsRequest(
        jobs=[jobs_service_pb2.SubmitJobRequest(job_id=job_id, spec=spec) for job_id, spec in specs]
    )
    results = (await jobs_api.call(jobs_api.jobs.SubmitJobs, request)).results
    assert [result.WhichOneof("result") for result in results] == ["submitted"] * 3
    children = await jobs_api.claim(kind, limit=2)
    assert len(children) == 2
    return group_id, children


async def test_group_completes_when_its_children_completed(jobs_api: JobsApi, ended: Ended, kind: str) -> None:
    group_id, children = await group_of_two(jobs_api, kind, str(uuid4()))
    for child in children:
        await jobs_api.finish(child)
    group = await ended(group_id)
    assert group.state == job_pb2.JOB_STATE_COMPLETED
    assert json_format.MessageToDict(group.result) == {"children": 2.0, "unsuccessful": 0.0}


async def test_group_fails_without_retry_when_a_child_failed(jobs_api: JobsApi, ended: Ended, kind: str) -> None:
    group_id, (first, second) = await group_of_two(jobs_api, kind, str(uuid4()))
    await jobs_api.finish(first, failed=jobs_server.failed("broken"))
    await jobs_api.finish(second)
    group = await ended(group_id)
    assert (group.state, group.error.code) == (job_pb2.JOB_STATE_FAILED, "children_failed")
    assert group.error.message == "1 of 2 parts of this did not succeed."


async def test_a_group_without_children_completes_at_once(jobs_api: JobsApi, ended: Ended) -> None:
    group = await ended((await jobs_api.submit("jobs.group")).job_id)
    assert json_format.MessageToDict(group.result) == {"children": 0.0, "unsuccessful": 0.0}


async def test_operators_pause_resume_and_trigger(jobs_api: JobsApi, kind: str) -> None:
    name = await register_schedule(jobs_api, kind, time_zone="Europe/Berlin", catch_up=kind_pb2.CATCH_UP_ALL)
    request = admin_service_pb2.PauseScheduleRequest(name=name)
    paused = (await jobs_api.call(jobs_api.admin.PauseSchedule, request, service="jobs")).schedule
    assert paused.HasField("pause_time") and not paused.HasField("next_time")
    assert (await schedules(jobs_api))[name] == paused
    assert (paused.registration.time_zone, paused.registration.catch_up) == ("Europe/Berlin", kind_pb2.CATCH_UP_ALL)
    admin = {"service": "gateway", "user": str(uuid4()), "role": "admin"}
    job = await trigger(jobs_api, name, **admin)
    assert (await trigger(jobs_api, name, job.job_id, **admin)).job_id == job.job_id
    assert (await schedules(jobs_api))[name].last_job_id == job.job_id
    resume = admin_service_pb2.ResumeScheduleRequest(name=name)
    resumed = (await jobs_api.call(jobs_api.admin.ResumeSchedule, resume, service="jobs")).schedule
    assert not resumed.HasField("pause_time") and resumed.HasField("next_time")
    assert [claimed.job_id for claimed in await jobs_api.claim(kind)] == [job.job_id]


@pytest.mark.parametrize("rpc", ["PauseSchedule", "ResumeSchedule", "TriggerSchedule", "GetSchedule", "DeleteSchedule"])
async def test_name_of_a_schedule_with_nul_is_refused(jobs_api: JobsApi, rpc: str) -> None:
    request = getattr(admin_service_pb2, f"{rpc}Request")(name="a\0b")
    if rpc == "TriggerSchedule":
        request.job_id = str(ids.uuid7())
    with pytest.raises((errors.InvalidArgument, errors.NotFound)):
        await jobs_api.call(getattr(jobs_api.admin, rpc), request, service="jobs")


@pytest.mark.parametrize("rpc", ["PauseSchedule", "ResumeSchedule", "TriggerSchedule"])
async def test_an_unknown_schedule_is_not_found(jobs_api: JobsApi, rpc: str) -> None:
    request = getattr(admin_service_pb2, f"{rpc}Request")(name="nobody.registered")
    if rpc == "TriggerSchedule":
        request.job_id = str(ids.uuid7())
    with pytest.raises(errors.NotFound) as excinfo:
        await jobs_api.call(getattr(jobs_api.admin, rpc), request, service="jobs")
    assert excinfo.value.code == "schedule_not_found"


@pytest.mark.parametrize("rpc", ["ListSchedules", "PauseSchedule", "ResumeSchedule", "TriggerSchedule"])
async def test_schedules_are_for_operators(jobs_api: JobsApi, rpc: str) -> None:
    request = getattr(admin_service_pb2, f"{rpc}Request")()
    with pytest.raises(errors.PermissionDenied):
        await jobs_api.call(getattr(jobs_api.admin, rpc), request, service="gateway", user=str(uuid4()))
    with pytest.raises(errors.PermissionDenied):
        await jobs_api.call(getattr(jobs_api.admin, rpc), request, service="demo")


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("cron", {"cron": "0 0 * *"}),
        ("cron", {"cron": "0 25 * * *"}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("name", {"name": "Not A Name"}),
        ("catch_up", {"catch_up": 77}),
        ("overlap", {"overlap": 77}),
    ],
)
async def test_a_bad_schedule_is_refused_by_its_field(
    jobs_api: JobsApi, kind: str, field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await register_schedule(jobs_api, kind, **fields)
    assert excinfo.value.field == field


@pytest.mark.parametrize(("service", "kind"), [("demo", "jobs.group"), ("demo", "demonic.x"), ("jobs", "demo.enable")])
async def test_services_work_on_their_own_kinds_only(jobs_api: JobsApi, service: str, kind: str) -> None:
    foreign_kind = f"{service}.{uuid4().hex}"
    registration = kind_pb2.KindRegistration(kind=foreign_kind)
    schedule = kind_pb2.ScheduleRegistration(name=f"{foreign_kind}.s", kind=kind, cron="0 0 1 1 *")
    requests = [
        jobs_service_pb2.ClaimJobsRequest(worker=WORKER, kinds=[foreign_kind, kind], max_jobs=1),
        jobs_service_pb2.RegisterKindsRequest(
            worker=WORKER, kinds=[registration, kind_pb2.KindRegistration(kind=kind)]
        ),
        jobs_service_pb2.RegisterKindsRequest(worker=WORKER, kinds=[registration], schedules=[schedule]),
    ]
    for request in requests:
        rpc = getattr(jobs_api.jobs, type(request).__name__.removesuffix("Request"))
        with pytest.raises(errors.PermissionDenied) as excinfo:
            await jobs_api.call(rpc, request, service=service)
        assert excinfo.value.code == "kind_not_owned"


async def test_services_report_on_attempts_of_their_own_kinds_only(jobs_api: JobsApi, kind: str) -> None:
    await jobs_api.submit(kind)
    (job,) = await jobs_api.claim(kind)
    attempt = jobs_server.attempt_of(job)
    line = jobs_service_pb2.FinishJobRequest().lines.add(number=1, text="foreign")
    line.time.GetCurrentTime()
    completed = jobs_service_pb2.FinishJobRequest(
        attempt=attempt, completed=jobs_service_pb2.FinishJobRequest.Completed()
    )
    heartbeat = jobs_service_pb2.HeartbeatJobsRequest(worker=WORKER, attempts=[attempt])
    lease_lost = [
        jobs_service_pb2.ReportProgressRequest(attempt=attempt, progress=job_pb2.JobProgress(done=9, total=10)),
        jobs_service_pb2.ReportProgressRequest(attempt=attempt, lines=[line]),
        jobs_service_pb2.SaveCheckpointRequest(attempt=attempt, name="foreign"),
        jobs_service_pb2.GetCheckpointsRequest(attempt=attempt),
    ]
    for request in lease_lost:
        rpc = getattr(jobs_api.jobs, type(request).__name__.removesuffix("Request"))
        with pytest.raises(errors.Aborted) as excinfo:
            await jobs_api.call(rpc, request, service="auth")
        assert excinfo.value.code == "lease_lost"
    with pytest.raises(errors.PermissionDenied) as refused:
        await jobs_api.call(jobs_api.jobs.FinishJob, completed, service="auth")
    assert refused.value.code == "kind_not_owned"
    batch = jobs_service_pb2.FinishJobsRequest(finishes=[completed])
    (result,) = (await jobs_api.call(jobs_api.jobs.FinishJobs, batch, service="auth")).results
    assert result.error.code == "kind_not_owned"
    assert list((await jobs_api.call(jobs_api.jobs.HeartbeatJobs, heartbeat, service="auth")).lost) == [attempt]
    assert list((await jobs_api.call(jobs_api.jobs.HeartbeatJobs, heartbeat)).renewed) == [attempt]
    ended = await jobs_api.finish(job)
    assert (ended.state, ended.progress.done) == (job_pb2.JOB_STATE_COMPLETED, 0)
