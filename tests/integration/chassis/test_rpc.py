"""Calls between services: signed, allowed, in time, and with errors that say what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chassis import errors, identity
from chassis.rpc import client, server
from dev import children
from repruv.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc

SERVICE = "repruv.jobs.v1.JobsService"
USER = identity.User(user_id="u1", role="user", session_id="s1")


class Servicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Answers GetJob with whatever the test wants."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.callers: list[identity.Caller] = []
        self.hang = asyncio.Event()
        self.hang.set()

    async def GetJob(self, request: Any, context: Any) -> jobs_service_pb2.GetJobResponse:  # noqa: N802
        self.callers.append(identity.caller())
        await self.hang.wait()
        if self.error:
            raise self.error
        return jobs_service_pb2.GetJobResponse()

    async def ListJobs(self, request: Any, context: Any) -> jobs_service_pb2.ListJobsResponse:  # noqa: N802
        return jobs_service_pb2.ListJobsResponse()


class Served:
    """A server and how to call it."""

    def __init__(self, servicer: Servicer, port: int, channel: grpc.aio.Channel) -> None:
        self.servicer = servicer
        self.target = f"127.0.0.1:{port}"
        self.channel = channel
        self.stub = jobs_service_pb2_grpc.JobsServiceStub(channel)


class Broken(Exception):
    """What a library raises."""


@pytest.fixture
async def served(verifier: identity.Verifier) -> AsyncIterator[Served]:
    """Serve on a free port; the gateway may call GetJob, and nobody anything else."""
    servicer = Servicer()  # type: ignore[abstract] # the rest is not called

    def translate(error: Exception) -> errors.Error | None:
        return errors.Unavailable(code="database_unavailable") if isinstance(error, Broken) else None

    async with server.serving(
        listen="127.0.0.1:0",
        service=SERVICE,
        register=lambda grpc_server: jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(servicer, grpc_server),
        verifier=verifier,
        callers={"GetJob": frozenset({"gateway"})},
        translate=translate,
    ) as port:
        channel = client.channel(f"127.0.0.1:{port}", service=SERVICE)
        yield Served(servicer, port, channel)
        servicer.hang.set()
        await channel.close()


async def get_job(served: Served, call: client.Caller, **options: Any) -> None:
    """Make the call."""
    await call(served.stub.GetJob, jobs_service_pb2.GetJobRequest(), **{"timeout": 5.0, **options})


async def test_the_servicer_learns_who_calls_and_for_whom(
    served: Served, signer: Callable[[str], identity.Signer]
) -> None:
    token, _ = signer("auth").user_token(USER)
    await get_job(served, client.Caller(signer("gateway")), user_token=token)
    await get_job(served, client.Caller(signer("gateway")), user_token="")
    assert [(caller.service, caller.user) for caller in served.servicer.callers] == [
        ("gateway", USER),
        ("gateway", None),
    ]


async def test_a_service_that_is_not_on_the_list_is_refused(
    served: Served, signer: Callable[[str], identity.Signer]
) -> None:
    with pytest.raises(errors.PermissionDenied) as caught:
        await get_job(served, client.Caller(signer("demo")))
    assert caught.value.code == "caller_not_allowed"
    assert served.servicer.callers == []


async def test_an_rpc_without_a_list_is_for_nobody(served: Served, signer: Callable[[str], identity.Signer]) -> None:
    call = client.Caller(signer("gateway"))
    with pytest.raises(errors.PermissionDenied):
        await call(served.stub.ListJobs, jobs_service_pb2.ListJobsRequest(), timeout=5.0)


async def test_an_unsigned_call_is_refused(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.GetJob(jobs_service_pb2.GetJobRequest(), timeout=5.0)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert served.servicer.callers == []


async def test_a_user_that_auth_did_not_vouch_for_is_refused(
    served: Served, signer: Callable[[str], identity.Signer]
) -> None:
    forged, _ = signer("gateway").user_token(USER)
    with pytest.raises(errors.Unauthenticated):
        await get_job(served, client.Caller(signer("gateway")), user_token=forged)
    assert served.servicer.callers == []


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgument("niche must be known.", code="invalid_argument", field="niche"),
        errors.NotFound("There is no such job.", code="job_not_found"),
        errors.ResourceExhausted("Slow down.", code="too_many", details={"retry_after_seconds": "7"}),
        errors.FailedPrecondition("Grüße: zu spät.", code="too_late"),
    ],
)
async def test_errors_arrive_whole(
    served: Served, signer: Callable[[str], identity.Signer], error: errors.Error
) -> None:
    served.servicer.error = error
    with pytest.raises(type(error)) as caught:
        await get_job(served, client.Caller(signer("gateway")))
    told = caught.value
    assert (told.message, told.code, told.field, told.details) == (
        error.message,
        error.code,
        error.field,
        error.details,
    )


async def test_a_bug_tells_the_caller_nothing_internal(
    served: Served, signer: Callable[[str], identity.Signer]
) -> None:
    served.servicer.error = ValueError("password=hunter2")
    with pytest.raises(errors.Internal) as caught:
        await get_job(served, client.Caller(signer("gateway")))
    assert "hunter2" not in str(caught.value)


async def test_a_part_that_does_not_answer_is_unavailable(
    served: Served, signer: Callable[[str], identity.Signer]
) -> None:
    served.servicer.error = Broken()
    with pytest.raises(errors.Unavailable) as caught:
        await get_job(served, client.Caller(signer("gateway")))
    assert caught.value.code == "database_unavailable"


async def test_a_call_ends_at_its_deadline(served: Served, signer: Callable[[str], identity.Signer]) -> None:
    served.servicer.hang.clear()
    with pytest.raises(errors.DeadlineExceeded):
        await get_job(served, client.Caller(signer("gateway")), timeout=0.1)


async def test_nobody_there_is_told_at_once_or_waited_for(
    served: Served, signer: Callable[[str], identity.Signer]
) -> None:
    channel = client.channel("127.0.0.1:1", service=SERVICE)
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    call = client.Caller(signer("gateway"))
    with pytest.raises(errors.Unavailable) as caught:
        await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=30.0, wait_for_ready=False)
    assert "127.0.0.1" not in caught.value.message
    with pytest.raises(errors.Unavailable):
        await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=0.1)
    await channel.close()


async def test_health_and_reflection_need_no_signature(served: Served) -> None:
    health: Any = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5.0)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(served.channel)  # type: ignore[arg-type]
    call = reflection.ServerReflectionInfo(timeout=5.0)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    assert SERVICE in {one.name for one in answer.list_services_response.service}
    call.cancel()


async def test_a_stopping_server_is_unavailable_at_worst(
    verifier: identity.Verifier, signer: Callable[[str], identity.Signer]
) -> None:
    """A call that meets a server just as it stops is told CANCELLED by gRPC, which is no fault of ours."""
    port = children.free_port()
    serving = partial(
        server.serving,
        listen=f"127.0.0.1:{port}",
        service=SERVICE,
        register=lambda made: jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(Servicer(), made),  # type: ignore[abstract]
        verifier=verifier,
        callers={"GetJob": frozenset({"gateway"})},
        translate=lambda error: None,
    )
    call = client.Caller(signer("gateway"))
    channel = client.channel(f"127.0.0.1:{port}", service=SERVICE, idempotent=["GetJob"])
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    stop = asyncio.Event()

    async def keep_calling() -> None:
        while not stop.is_set():
            with contextlib.suppress(errors.Unavailable):
                await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=10.0)

    calling = [asyncio.create_task(keep_calling()) for _ in range(4)]
    for _ in range(5):
        async with serving():
            await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=10.0)
    async with serving():
        stop.set()
        await asyncio.gather(*calling)
    await channel.close()
