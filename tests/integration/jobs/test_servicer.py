"""Access to jobs, over real gRPC."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from chassis import errors, identity, ids
from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from worker import client as worker_client


@pytest.fixture
async def stub(jobs_target: str) -> AsyncIterator[jobs_service_pb2_grpc.JobsServiceAsyncStub]:
    """Yield a stub of the jobs service."""
    channel = worker_client.channel(jobs_target)
    yield jobs_service_pb2_grpc.JobsServiceStub(channel)
    await channel.close()


@pytest.fixture
def signed(signer: Callable[[str], identity.Signer]) -> Callable[..., str]:
    """Sign an identity as auth."""

    def sign(user_id: str, role: str = "user") -> str:
        token, _ = signer("auth").user_token(identity.User(user_id=user_id, role=role, session_id="s"))
        return token

    return sign


@pytest.fixture
async def job(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub, signer: Callable[[str], identity.Signer]
) -> job_pb2.Job:
    """Return a new job of a new owner."""
    spec = job_pb2.JobSpec(kind=f"demo.{uuid4().hex}", owner_id=str(uuid4()))
    request = jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=spec)
    return (await client.Caller(signer("demo"))(stub.SubmitJob, request, timeout=60.0)).job


async def test_users_read_their_own_jobs_and_admins_read_all(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub,
    signer: Callable[[str], identity.Signer],
    signed: Callable[..., str],
    job: job_pb2.Job,
) -> None:
    call = client.Caller(signer("gateway"))
    request = jobs_service_pb2.GetJobRequest(job_id=job.job_id)
    for token in (signed(job.spec.owner_id), signed(str(uuid4()), "admin")):
        assert (await call(stub.GetJob, request, timeout=60.0, user_token=token)).job == job
    with pytest.raises(errors.NotFound):
        await call(stub.GetJob, request, timeout=60.0, user_token=signed(str(uuid4())))


async def test_list_for_a_user_has_only_that_users_jobs(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub,
    signer: Callable[[str], identity.Signer],
    signed: Callable[..., str],
    job: job_pb2.Job,
) -> None:
    call = client.Caller(signer("gateway"))
    request = jobs_service_pb2.ListJobsRequest(owner_id=job.spec.owner_id)
    certificate = await call(stub.ListJobs, request, timeout=60.0, user_token=signed(job.spec.owner_id))
    assert [item.job_id for item in certificate.jobs] == [job.job_id]
    strange = await call(stub.ListJobs, request, timeout=60.0, user_token=signed(str(uuid4())))
    assert list(strange.jobs) == []
    events = jobs_service_pb2.ListJobEventsRequest(owner_id=job.spec.owner_id)
    answer = await call(stub.ListJobEvents, events, timeout=60.0, user_token=signed(str(uuid4())))
    assert list(answer.events) == []


async def test_gateway_reads_no_jobs_without_a_user(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub, signer: Callable[[str], identity.Signer], job: job_pb2.Job
) -> None:
    call = client.Caller(signer("gateway"))
    named = {"job_id": job.job_id}
    calls: list[tuple[Any, Any]] = [
        (stub.GetJob, jobs_service_pb2.GetJobRequest(**named)),
        (stub.GetJobHistory, jobs_service_pb2.GetJobHistoryRequest(**named)),
        (stub.CancelJob, jobs_service_pb2.CancelJobRequest(**named)),
        (stub.RetryJob, jobs_service_pb2.RetryJobRequest(**named)),
        (stub.ListJobs, jobs_service_pb2.ListJobsRequest()),
    ]
    for method, request in calls:
        with pytest.raises(errors.Unauthenticated):
            await call(method, request, timeout=60.0, user_token="")


@pytest.mark.parametrize("rpc", ["SubmitJob", "ClaimJobs", "HeartbeatJobs", "ReportProgress", "FinishJob"])
async def test_gateway_may_not_claim(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub, signer: Callable[[str], identity.Signer], rpc: str
) -> None:
    request = getattr(jobs_service_pb2, f"{rpc}Request")()
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await client.Caller(signer("gateway"))(getattr(stub, rpc), request, timeout=60.0)
    assert excinfo.value.code == "caller_not_allowed"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (jobs_service_pb2.SubmitJobRequest(job_id="x"), "job_id"),
        (jobs_service_pb2.SubmitJobRequest(job_id=str(uuid4())), "job_id"),
        (
            jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=job_pb2.JobSpec(kind="k", owner_id="x")),
            "owner_id",
        ),
        (
            jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=job_pb2.JobSpec(owner_id=str(uuid4()))),
            "kind",
        ),
        (jobs_service_pb2.ClaimJobsRequest(worker="w", max_jobs=1), "kinds"),
        (jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=["demo.k"], max_jobs=0), "max_jobs"),
        (jobs_service_pb2.ClaimJobsRequest(worker="", kinds=["demo.k"], max_jobs=1), "worker"),
        (
            jobs_service_pb2.FinishJobRequest(attempt=jobs_service_pb2.JobAttempt(job_id=str(uuid4()), attempt=1)),
            "outcome",
        ),
    ],
)
async def test_bad_input_names_the_field(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub,
    signer: Callable[[str], identity.Signer],
    request_: Any,
    field: str,
) -> None:
    rpc = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await client.Caller(signer("demo"))(rpc, request_, timeout=60.0)
    assert excinfo.value.field == field


async def test_only_admins_continue_a_change_of_many_jobs(
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub,
    signer: Callable[[str], identity.Signer],
    signed: Callable[..., str],
) -> None:
    """Its owner may be an admin no longer, or call with an API token, which never has the role."""
    call, owner_id = client.Caller(signer("gateway")), str(uuid4())
    spec = job_pb2.JobSpec(kind="jobs.bulk", owner_id=owner_id)
    spec.run_at.FromSeconds(int(time.time()) + 3_600)
    submit = jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=spec)
    await client.Caller(signer("jobs"))(stub.SubmitJob, submit, timeout=60.0)
    cancel = jobs_service_pb2.CancelJobRequest(job_id=submit.job_id)
    await call(stub.CancelJob, cancel, timeout=60.0, user_token=signed(owner_id))
    retry = jobs_service_pb2.RetryJobRequest(job_id=submit.job_id)
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await call(stub.RetryJob, retry, timeout=60.0, user_token=signed(owner_id))
    assert excinfo.value.code == "admin_required"
    with pytest.raises(errors.NotFound):
        await call(stub.RetryJob, retry, timeout=60.0, user_token=signed(str(uuid4())))
    retried = await call(stub.RetryJob, retry, timeout=60.0, user_token=signed(owner_id, "admin"))
    assert retried.job.state == job_pb2.JOB_STATE_PENDING
