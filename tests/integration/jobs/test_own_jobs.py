"""What the jobs service runs itself, schedules as operators steer them, and who may serve which kinds; over real gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf import json_format

from chassis import errors, ids
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2, kind_pb2
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import WORKER, Served

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
ENDED = {job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}
CLEANUP = "jobs.cleanup"


@pytest.fixture
def ended(served: Served, eventually: Eventually) -> Callable[[str], Awaitable[job_pb2.Job]]:
    """Wait for the end of a job."""

    async def get(job_id: str) -> job_pb2.Job:
        job: job_pb2.Job = (await served.call(served.jobs.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id))).job
        return job

    async def wait(job_id: str) -> job_pb2.Job:
        async def has_ended() -> bool:
            return (await get(job_id)).state in ENDED

        await eventually(has_ended)
        return await get(job_id)

    return wait


Ended = Callable[[str], Awaitable[job_pb2.Job]]


async def schedules(served: Served) -> dict[str, kind_pb2.Schedule]:
    request = admin_service_pb2.ListSchedulesRequest()
    found = await served.call(served.admin.ListSchedules, request, service="jobs")
    return {schedule.declaration.name: schedule for schedule in found.schedules}


async def declared(served: Served, kind: str, **given: Any) -> str:
    """Declare a schedule that will not come within this test; gives its name."""
    name = f"{kind}.yearly"
    schedule = kind_pb2.ScheduleDeclaration(**{"name": name, "kind": kind, "cron": "0 0 29 2 *", **given})
    request = jobs_service_pb2.RegisterKindsRequest(
        worker=WORKER, kinds=[kind_pb2.KindDeclaration(kind=kind)], schedules=[schedule]
    )
    await served.call(served.jobs.RegisterKinds, request)
    return name


async def trigger(served: Served, name: str, job_id: str = "", **caller: str) -> job_pb2.Job:
    request = admin_service_pb2.TriggerScheduleRequest(name=name, job_id=job_id or str(ids.uuid7()))
    answer = await served.call(served.admin.TriggerSchedule, request, **{"service": "jobs", **caller})
    job: job_pb2.Job = answer.job
    return job


async def test_the_service_cleans_up_by_itself(served: Served, ended: Ended, eventually: Eventually) -> None:
    async def is_declared() -> bool:
        return CLEANUP in await schedules(served)

    await eventually(is_declared)
    schedule = (await schedules(served))[CLEANUP]
    assert (schedule.declaration.kind, schedule.declaration.cron) == (CLEANUP, "*/5 * * * *")
    assert schedule.declaration.overlap == kind_pb2.OVERLAP_SKIP
    assert schedule.HasField("next_time")
    job = await ended((await trigger(served, CLEANUP)).job_id)
    assert job.state == job_pb2.JOB_STATE_COMPLETED
    assert UUID(job.spec.owner_id) == UUID(int=0)
    assert set(json_format.MessageToDict(job.result)) == {"jobs", "workers", "kinds", "schedules", "is_complete"}


async def group_of_two(served: Served, kind: str, owner_id: str) -> tuple[str, list[job_pb2.Job]]:
    """Submit a group with two children in one call; gives its id, and the children, claimed."""
    group_id = str(ids.uuid7())
    specs = [
        (group_id, job_pb2.JobSpec(kind="jobs.group", owner_id=owner_id)),
        *((str(ids.uuid7()), job_pb2.JobSpec(kind=kind, owner_id=owner_id, parent_id=group_id)) for _ in range(2)),
    ]
    request = jobs_service_pb2.SubmitJobsRequest(
        jobs=[jobs_service_pb2.SubmitJobRequest(job_id=job_id, spec=spec) for job_id, spec in specs]
    )
    results = (await served.call(served.jobs.SubmitJobs, request)).results
    assert [result.WhichOneof("result") for result in results] == ["submitted"] * 3
    children = await served.claim(kind, limit=2)
    assert len(children) == 2
    return group_id, children


async def test_a_group_completes_when_its_children_have(served: Served, ended: Ended, kind: str) -> None:
    group_id, children = await group_of_two(served, kind, str(uuid4()))
    for child in children:
        await served.finish(child)
    group = await ended(group_id)
    assert group.state == job_pb2.JOB_STATE_COMPLETED
    assert json_format.MessageToDict(group.result) == {"children": 2.0, "unsuccessful": 0.0}


async def test_a_group_fails_for_good_when_a_child_did(served: Served, ended: Ended, kind: str) -> None:
    group_id, (first, second) = await group_of_two(served, kind, str(uuid4()))
    await served.finish(first, failed=jobs_server.failed("broken"))
    await served.finish(second)
    group = await ended(group_id)
    assert (group.state, group.error.code) == (job_pb2.JOB_STATE_FAILED, "children_failed")
    assert group.error.message == "1 of 2 parts of this did not succeed."


async def test_a_group_without_children_completes_at_once(served: Served, ended: Ended) -> None:
    group = await ended((await served.submit("jobs.group")).job_id)
    assert json_format.MessageToDict(group.result) == {"children": 0.0, "unsuccessful": 0.0}


async def test_operators_pause_resume_and_trigger(served: Served, kind: str) -> None:
    name = await declared(served, kind, time_zone="Europe/Berlin", catch_up=kind_pb2.CATCH_UP_ALL)
    request = admin_service_pb2.PauseScheduleRequest(name=name)
    paused = (await served.call(served.admin.PauseSchedule, request, service="jobs")).schedule
    assert paused.HasField("pause_time") and not paused.HasField("next_time")
    assert (await schedules(served))[name] == paused
    assert (paused.declaration.time_zone, paused.declaration.catch_up) == ("Europe/Berlin", kind_pb2.CATCH_UP_ALL)
    admin = {"service": "gateway", "user": str(uuid4()), "role": "admin"}
    job = await trigger(served, name, **admin)
    assert (await trigger(served, name, job.job_id, **admin)).job_id == job.job_id
    assert (await schedules(served))[name].last_job_id == job.job_id
    resume = admin_service_pb2.ResumeScheduleRequest(name=name)
    resumed = (await served.call(served.admin.ResumeSchedule, resume, service="jobs")).schedule
    assert not resumed.HasField("pause_time") and resumed.HasField("next_time")
    assert [claimed.job_id for claimed in await served.claim(kind)] == [job.job_id]


@pytest.mark.parametrize("rpc", ["PauseSchedule", "ResumeSchedule", "TriggerSchedule"])
async def test_an_unknown_schedule_is_not_found(served: Served, rpc: str) -> None:
    request = getattr(admin_service_pb2, f"{rpc}Request")(name="nobody.declared")
    if rpc == "TriggerSchedule":
        request.job_id = str(ids.uuid7())
    with pytest.raises(errors.NotFound) as refused:
        await served.call(getattr(served.admin, rpc), request, service="jobs")
    assert refused.value.code == "schedule_not_found"


@pytest.mark.parametrize("rpc", ["ListSchedules", "PauseSchedule", "ResumeSchedule", "TriggerSchedule"])
async def test_schedules_are_for_operators(served: Served, rpc: str) -> None:
    request = getattr(admin_service_pb2, f"{rpc}Request")()
    with pytest.raises(errors.PermissionDenied):
        await served.call(getattr(served.admin, rpc), request, service="gateway", user=str(uuid4()))
    with pytest.raises(errors.PermissionDenied):
        await served.call(getattr(served.admin, rpc), request, service="demo")


@pytest.mark.parametrize(
    ("field", "given"),
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
    served: Served, kind: str, field: str, given: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        await declared(served, kind, **given)
    assert refused.value.field == field


@pytest.mark.parametrize(("service", "kind"), [("demo", "jobs.group"), ("demo", "demonic.x"), ("jobs", "demo.enable")])
async def test_services_serve_their_own_kinds_only(served: Served, service: str, kind: str) -> None:
    theirs = f"{service}.{uuid4().hex}"
    declaration = kind_pb2.KindDeclaration(kind=theirs)
    schedule = kind_pb2.ScheduleDeclaration(name=f"{theirs}.s", kind=kind, cron="0 0 1 1 *")
    requests = [
        jobs_service_pb2.ClaimJobsRequest(worker=WORKER, kinds=[theirs, kind], max_jobs=1),
        jobs_service_pb2.RegisterKindsRequest(worker=WORKER, kinds=[declaration, kind_pb2.KindDeclaration(kind=kind)]),
        jobs_service_pb2.RegisterKindsRequest(worker=WORKER, kinds=[declaration], schedules=[schedule]),
    ]
    for request in requests:
        rpc = getattr(served.jobs, type(request).__name__.removesuffix("Request"))
        with pytest.raises(errors.PermissionDenied) as refused:
            await served.call(rpc, request, service=service)
        assert refused.value.code == "kind_not_owned"
