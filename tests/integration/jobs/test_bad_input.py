"""Invalid input gets a status, a code and the field, never an internal error."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from chassis import errors, ids, protobuf
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2, kind_pb2
from tests.integration.jobs.jobs_server import JobsApi

KIND = "demo.bad_input"
ID = str(ids.uuid7())
LAST_SECOND = Timestamp(seconds=253_402_300_799)
ATTEMPT = jobs_service_pb2.JobAttempt(job_id=ID, attempt=1)
Finish = jobs_service_pb2.FinishJobRequest


def payload(**fields: Any) -> Struct:
    """Make a payload."""
    message = Struct()
    message.update(fields)
    return message


def nested(levels: int) -> Any:
    """Return that many nested objects."""
    return {"a": nested(levels - 1)} if levels else None


def submit(**spec: Any) -> jobs_service_pb2.SubmitJobRequest:
    """Return the request of a submit."""
    message = job_pb2.JobSpec(**{"kind": KIND, "owner_id": str(uuid4()), **spec})
    return jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=message)


def register_request(kind: str = KIND, **schedule: Any) -> jobs_service_pb2.RegisterKindsRequest:
    """Register a kind and a schedule."""
    fields = {"name": "bad.input", "kind": kind, "cron": "* * * * *", **schedule}
    return jobs_service_pb2.RegisterKindsRequest(
        worker="w", kinds=[kind_pb2.KindRegistration(kind=kind)], schedules=[kind_pb2.ScheduleRegistration(**fields)]
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"kind": "Demo.Upper"}, "kind"),
        ({"kind": "demo.\x00"}, "kind"),
        ({"kind": "demo." + "k" * 100}, "kind"),
        ({"kind": "*"}, "kind"),
        ({"owner_id": "me"}, "owner_id"),
        ({"owner_id": "{" + ID + "}"}, "owner_id"),
        ({"payload": payload(text="x" * 256 * 1024)}, "payload"),
        ({"payload": payload(text="é" * 128 * 1024)}, "payload"),
        ({"payload": payload(text="a\N{GRINNING FACE}\0")}, "payload"),
        ({"payload": payload(text="a\x00b")}, "payload"),
        ({"payload": payload(n=float("nan"))}, "payload"),
        ({"payload": payload(n=float("inf"))}, "payload"),
        ({"payload": payload(a=nested(protobuf.MAX_DEPTH))}, "payload"),
        ({"priority": 101}, "priority"),
        ({"priority": -(2**31)}, "priority"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"max_attempts": 2**31 - 1}, "max_attempts"),
        ({"run_at": Timestamp(seconds=2**62)}, "run_at"),
        ({"run_at": Timestamp(seconds=-(2**62))}, "run_at"),
        ({"run_at": LAST_SECOND}, "run_at"),
        ({"run_at": LAST_SECOND, "total_timeout": Duration(seconds=86_400)}, "run_at"),
        ({"backoff": Duration(seconds=-1)}, "backoff"),
        ({"backoff": Duration(nanos=1)}, "backoff"),
        ({"backoff": Duration(seconds=2**62)}, "backoff"),
        ({"max_backoff": Duration(seconds=86_401)}, "max_backoff"),
        ({"attempt_timeout": Duration(seconds=-5)}, "attempt_timeout"),
        ({"attempt_timeout": Duration(seconds=-(2**62))}, "attempt_timeout"),
        ({"total_timeout": Duration(seconds=31 * 86_400)}, "total_timeout"),
        ({"total_timeout": Duration()}, "total_timeout"),
        ({"unique_key": "k" * 201}, "unique_key"),
        ({"unique_key": "\x00"}, "unique_key"),
        ({"concurrency_key": "k" * 201}, "concurrency_key"),
        ({"concurrency_key": "\x00"}, "concurrency_key"),
        ({"parent_id": "x"}, "parent_id"),
    ],
)
async def test_spec_out_of_bounds_is_refused_alone_and_in_a_batch(
    jobs_api: JobsApi, spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs_api.call(jobs_api.jobs.SubmitJob, submit(**spec))
    assert excinfo.value.field == field
    answer = await jobs_api.call(
        jobs_api.jobs.SubmitJobs, jobs_service_pb2.SubmitJobsRequest(jobs=[submit(), submit(**spec), submit()])
    )
    assert [result.WhichOneof("result") for result in answer.results] == ["submitted", "error", "submitted"]
    refusal = answer.results[1].error
    assert (refusal.status, refusal.code, refusal.field) == ("INVALID_ARGUMENT", "invalid_argument", field)


@pytest.mark.parametrize(
    "spec",
    [
        {"run_at": Timestamp(seconds=-62_135_596_800)},
        {"run_at": Timestamp(seconds=250_000_000_000), "total_timeout": Duration(seconds=30 * 86_400)},
        {"payload": payload(huge=1.7e308, tiny=5e-324, literal="\\u0000", nested=[[{"a": None}]])},
        {"unique_key": "\u2028 ' \" \\ é \U0001f600 " + uuid4().hex, "concurrency_key": "%s :name"},
        {"owner_id": "00000000-0000-0000-0000-000000000000"},
        {"backoff": Duration(nanos=1_000)},
    ],
)
async def test_unusual_spec_within_bounds_is_stored(jobs_api: JobsApi, spec: dict[str, Any]) -> None:
    request = submit(**spec)
    answer = await jobs_api.call(jobs_api.jobs.SubmitJob, request)
    assert answer.created
    assert answer.job.spec.payload == request.spec.payload
    again = await jobs_api.call(jobs_api.jobs.SubmitJob, request)
    assert not again.created


MANY = [jobs_service_pb2.SubmitJobRequest()] * 1_001
BAD_CALLS: list[tuple[Any, str]] = [
    (jobs_service_pb2.SubmitJobsRequest(), "jobs"),
    (jobs_service_pb2.SubmitJobsRequest(jobs=MANY), "jobs"),
    (jobs_service_pb2.GetJobRequest(job_id=""), "job_id"),
    (jobs_service_pb2.ListJobsRequest(states=[99]), "states"),  # type: ignore[list-item]
    (jobs_service_pb2.ListJobsRequest(states=[job_pb2.JOB_STATE_UNSPECIFIED]), "states"),
    (jobs_service_pb2.ListJobsRequest(page_size=-1), "page_size"),
    (jobs_service_pb2.ListJobsRequest(page_token="x"), "page_token"),
    (jobs_service_pb2.ListJobsRequest(kinds=["a\x00"]), "kinds"),
    (jobs_service_pb2.ListJobsRequest(parent_id="x"), "parent_id"),
    (jobs_service_pb2.CancelJobRequest(job_id=ID, reason="r" * 101), "reason"),
    (jobs_service_pb2.ListJobEventsRequest(owner_id=ID, page_size=501), "page_size"),
    (jobs_service_pb2.ListJobEventsRequest(), "owner_id"),
    (jobs_service_pb2.BatchListJobEventsRequest(), "cursors"),
    (jobs_service_pb2.BatchListJobEventsRequest(cursors=[jobs_service_pb2.EventCursor(owner_id="x")]), "cursors"),
    (jobs_service_pb2.BatchListJobEventsRequest(cursors=[jobs_service_pb2.EventCursor(owner_id=ID)] * 501), "cursors"),
    (jobs_service_pb2.BatchGetEventPositionsRequest(owner_ids=["x"]), "owner_ids"),
    (jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=["demo.\x00"], max_jobs=1), "kinds"),
    (jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=["demo.*"], max_jobs=1), "kinds"),
    (jobs_service_pb2.ClaimJobsRequest(worker="w\x00", kinds=[KIND], max_jobs=1), "worker"),
    (jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[KIND], max_jobs=101), "max_jobs"),
    (jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[KIND], max_jobs=1, wait=Duration(seconds=2**62)), "wait"),
    (jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[KIND], max_jobs=1, wait=Duration(seconds=-1)), "wait"),
    (jobs_service_pb2.HeartbeatJobsRequest(worker="w", attempts=[ATTEMPT] * 1_001), "attempts"),
    (jobs_service_pb2.HeartbeatJobsRequest(worker="w" * 101, attempts=[ATTEMPT]), "worker"),
    (jobs_service_pb2.ReportProgressRequest(attempt=ATTEMPT, progress=job_pb2.JobProgress(done=-1)), "progress"),
    (Finish(attempt=ATTEMPT), "outcome"),
    (Finish(attempt=ATTEMPT, snoozed=Finish.Snoozed()), "delay"),
    (Finish(attempt=ATTEMPT, snoozed=Finish.Snoozed(delay=Duration(seconds=-1))), "delay"),
    (Finish(attempt=ATTEMPT, snoozed=Finish.Snoozed(delay=Duration(seconds=31 * 86_400))), "delay"),
    (Finish(attempt=ATTEMPT, completed=Finish.Completed(result=payload(text="x" * 64 * 1024))), "result"),
    (jobs_service_pb2.FinishJobsRequest(), "finishes"),
    (jobs_service_pb2.SaveCheckpointRequest(attempt=ATTEMPT), "name"),
    (jobs_service_pb2.SaveCheckpointRequest(attempt=ATTEMPT, name="n" * 101), "name"),
    (
        jobs_service_pb2.SaveCheckpointRequest(attempt=ATTEMPT, name="n", value=Value(string_value="x" * 64 * 1024)),
        "value",
    ),
    (
        jobs_service_pb2.SaveCheckpointRequest(attempt=ATTEMPT, name="n", value=Value(number_value=float("nan"))),
        "value",
    ),
    (jobs_service_pb2.RegisterKindsRequest(worker="w"), "kinds"),
    (
        jobs_service_pb2.RegisterKindsRequest(
            worker="w", kinds=[kind_pb2.KindRegistration(kind=KIND, retention=Duration(seconds=59))]
        ),
        "retention",
    ),
    (
        jobs_service_pb2.RegisterKindsRequest(
            worker="w", kinds=[kind_pb2.KindRegistration(kind=KIND, retention=Duration(seconds=2**62))]
        ),
        "retention",
    ),
    (register_request(catch_up=99), "catch_up"),
    (register_request(overlap=99), "overlap"),
    (register_request(cron="nonsense"), "cron"),
    (register_request(time_zone="../../etc/passwd"), "time_zone"),
    (register_request(name="Bad Name"), "name"),
]


@pytest.mark.parametrize(
    ("request_", "field"),
    BAD_CALLS,
    ids=[f"{type(result).__name__}-{field}-{n}" for n, (result, field) in enumerate(BAD_CALLS)],
)
async def test_invalid_call_names_its_field(jobs_api: JobsApi, request_: Any, field: str) -> None:
    rpc = getattr(jobs_api.jobs, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs_api.call(rpc, request_)
    assert excinfo.value.field == field


@pytest.mark.parametrize("name", ["a\x00b", "", "x" * 300])
@pytest.mark.parametrize("rpc", ["GetSchedule", "DeleteSchedule", "PauseSchedule", "ResumeSchedule", "TriggerSchedule"])
async def test_there_is_no_schedule_of_an_impossible_name(jobs_api: JobsApi, rpc: str, name: str) -> None:
    more = {"job_id": str(ids.uuid7())} if rpc == "TriggerSchedule" else {}
    request = getattr(admin_service_pb2, f"{rpc}Request")(name=name, **more)
    with pytest.raises(errors.NotFound) as excinfo:
        await jobs_api.call(getattr(jobs_api.admin, rpc), request, service="jobs")
    assert excinfo.value.code == "schedule_not_found"


@pytest.mark.parametrize("seconds", [2**53, -1, 86_401])
async def test_period_of_a_rate_out_of_bounds_is_refused(jobs_api: JobsApi, seconds: int) -> None:
    limits = kind_pb2.KindLimits(rate_count=1, rate_period=Duration(seconds=seconds))
    request = admin_service_pb2.SetKindLimitsRequest(kind=KIND, limits=limits)
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs_api.call(jobs_api.admin.SetKindLimits, request, service="jobs")
    assert excinfo.value.field == "rate_period"


@pytest.mark.parametrize("attempt", [-1, 0, 1, 2**31 - 1])
async def test_invented_attempts_are_stale(jobs_api: JobsApi, attempt: int) -> None:
    job = await jobs_api.submit(KIND + uuid4().hex)
    stale = jobs_service_pb2.JobAttempt(job_id=job.job_id, attempt=attempt)
    calls: list[tuple[Any, Any]] = [
        (jobs_api.jobs.FinishJob, Finish(attempt=stale, completed=Finish.Completed())),
        (jobs_api.jobs.ReportProgress, jobs_service_pb2.ReportProgressRequest(attempt=stale)),
        (jobs_api.jobs.SaveCheckpoint, jobs_service_pb2.SaveCheckpointRequest(attempt=stale, name="n")),
        (jobs_api.jobs.GetCheckpoints, jobs_service_pb2.GetCheckpointsRequest(attempt=stale)),
    ]
    for rpc, request in calls:
        with pytest.raises(errors.Aborted) as excinfo:
            await jobs_api.call(rpc, request)
        assert excinfo.value.code == "lease_lost"
    request = jobs_service_pb2.HeartbeatJobsRequest(worker="w", attempts=[stale])
    assert list((await jobs_api.call(jobs_api.jobs.HeartbeatJobs, request)).lost) == [stale]


async def test_extremes_of_progress_are_stored(jobs_api: JobsApi) -> None:
    kind = KIND + uuid4().hex
    await jobs_api.submit(kind)
    (job,) = await jobs_api.claim(kind)
    for done, total in ((0, 0), (2**63 - 1, 0), (5, 2**63 - 1), (2**63 - 1, 2**63 - 1), (7, 1)):
        await jobs_api.progress(job, done, total)
    response = await jobs_api.call(jobs_api.jobs.GetJob, jobs_service_pb2.GetJobRequest(job_id=job.job_id))
    assert (response.job.progress.done, response.job.progress.total) == (1, 1)


async def test_id_of_another_owners_job_reveals_nothing(jobs_api: JobsApi) -> None:
    job = await jobs_api.submit(KIND, payload=payload(secret=1))
    spec = job_pb2.JobSpec(kind=KIND, owner_id=str(uuid4()), payload=payload(secret=1))
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await jobs_api.call(jobs_api.jobs.SubmitJob, jobs_service_pb2.SubmitJobRequest(job_id=job.job_id, spec=spec))
    assert excinfo.value.code == "job_id_taken"
    with pytest.raises(errors.NotFound) as missing:
        await jobs_api.submit(KIND, parent_id=job.job_id)
    assert missing.value.code == "parent_not_found"
