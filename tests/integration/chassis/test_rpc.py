"""Calls between services: signatures, callers, deadlines and errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chassis import errors, identity
from chassis.rpc import client, server, shares
from dev import subprocesses
from repruv.jobs.v1 import admin_service_pb2, admin_service_pb2_grpc, jobs_service_pb2, jobs_service_pb2_grpc

SERVICE = "repruv.jobs.v1.JobsService"
ADMIN_SERVICE = "repruv.jobs.v1.AdminService"
USER = identity.User(user_id="u1", role="user", session_id="s1")


class Servicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Answers GetJob as the test configures, and WatchJob with a snapshot and then the same."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.callers: list[identity.Caller] = []
        self.hang = asyncio.Event()
        self.hang.set()
        self.open_streams = 0

    async def GetJob(self, request: Any, context: Any) -> jobs_service_pb2.GetJobResponse:  # noqa: N802
        self.callers.append(identity.caller())
        await self.hang.wait()
        if self.error:
            raise self.error
        return jobs_service_pb2.GetJobResponse()

    async def WatchJob(self, request: Any, context: Any) -> AsyncGenerator[jobs_service_pb2.WatchJobResponse, None]:  # noqa: N802
        self.callers.append(identity.caller())
        self.open_streams += 1
        try:
            yield jobs_service_pb2.WatchJobResponse()
            await self.hang.wait()
            if self.error:
                raise self.error
            yield jobs_service_pb2.WatchJobResponse()
        finally:
            self.open_streams -= 1

    async def ListJobs(self, request: Any, context: Any) -> jobs_service_pb2.ListJobsResponse:  # noqa: N802
        return jobs_service_pb2.ListJobsResponse()


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """The second service of the server."""

    async def ListKinds(self, request: Any, context: Any) -> admin_service_pb2.ListKindsResponse:  # noqa: N802
        return admin_service_pb2.ListKindsResponse()


class RunningServer:
    """A running server and a channel to it."""

    def __init__(self, servicer: Servicer, port: int, channel: grpc.aio.Channel) -> None:
        self.servicer = servicer
        self.target = f"127.0.0.1:{port}"
        self.channel = channel
        self.stub = jobs_service_pb2_grpc.JobsServiceStub(channel)


class Broken(Exception):
    """An error of a library."""


@pytest.fixture
async def running_server(verifier: identity.Verifier) -> AsyncIterator[RunningServer]:
    """Serve on a free port. The gateway may call GetJob and WatchJob, demo ListKinds; all else is refused."""
    servicer = Servicer()  # type: ignore[abstract] # the rest is not called
    admin = AdminServicer()  # type: ignore[abstract]

    def translate(error: Exception) -> errors.Error | None:
        return errors.Unavailable(code="database_unavailable") if isinstance(error, Broken) else None

    async with server.serving(
        listen="127.0.0.1:0",
        services=[
            server.Service(
                name=SERVICE,
                register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, servicer),
                callers={"GetJob": frozenset({"gateway"}), "WatchJob": frozenset({"gateway"})},
            ),
            server.Service(
                name=ADMIN_SERVICE,
                register=partial(admin_service_pb2_grpc.add_AdminServiceServicer_to_server, admin),
                callers={"ListKinds": frozenset({"demo"})},
            ),
        ],
        verifier=verifier,
        translate=translate,
    ) as port:
        channel = client.channel(f"127.0.0.1:{port}", service=SERVICE)
        yield RunningServer(servicer, port, channel)
        servicer.hang.set()
        await channel.close()


async def get_job(running_server: RunningServer, call: client.Caller, **options: Any) -> None:
    """Make the call."""
    await call(running_server.stub.GetJob, jobs_service_pb2.GetJobRequest(), **{"timeout": 5.0, **options})


async def test_servicer_gets_the_caller_and_the_user(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    token, _ = signer("auth").user_token(USER)
    await get_job(running_server, client.Caller(signer("gateway")), user_token=token)
    await get_job(running_server, client.Caller(signer("gateway")), user_token="")
    assert [(caller.service, caller.user) for caller in running_server.servicer.callers] == [
        ("gateway", USER),
        ("gateway", None),
    ]


async def test_unlisted_service_is_refused(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    with pytest.raises(errors.PermissionDenied) as caught:
        await get_job(running_server, client.Caller(signer("demo")))
    assert caught.value.code == "caller_not_allowed"
    assert running_server.servicer.callers == []


async def test_rpc_without_callers_is_refused_to_all(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    call = client.Caller(signer("gateway"))
    with pytest.raises(errors.PermissionDenied):
        await call(running_server.stub.ListJobs, jobs_service_pb2.ListJobsRequest(), timeout=60.0)


async def test_an_unsigned_call_is_refused(running_server: RunningServer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running_server.stub.GetJob(jobs_service_pb2.GetJobRequest(), timeout=60.0)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert running_server.servicer.callers == []


async def test_user_token_not_signed_by_auth_is_refused(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    forged, _ = signer("gateway").user_token(USER)
    with pytest.raises(errors.Unauthenticated):
        await get_job(running_server, client.Caller(signer("gateway")), user_token=forged)
    assert running_server.servicer.callers == []


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgument("niche must be known.", code="invalid_argument", field="niche"),
        errors.NotFound("There is no such job.", code="job_not_found"),
        errors.ResourceExhausted("Slow down.", code="too_many", details={"retry_after_seconds": "7"}),
        errors.FailedPrecondition("Grüße: zu spät.", code="too_late"),
    ],
)
async def test_errors_keep_all_their_fields(
    running_server: RunningServer, signer: Callable[[str], identity.Signer], error: errors.Error
) -> None:
    running_server.servicer.error = error
    with pytest.raises(type(error)) as caught:
        await get_job(running_server, client.Caller(signer("gateway")))
    received = caught.value
    assert (received.message, received.code, received.field, received.details) == (
        error.message,
        error.code,
        error.field,
        error.details,
    )


async def test_bug_reveals_nothing_internal_to_the_caller(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    running_server.servicer.error = ValueError("password=hunter2")
    with pytest.raises(errors.Internal) as caught:
        await get_job(running_server, client.Caller(signer("gateway")))
    assert "hunter2" not in str(caught.value)


async def test_unreachable_dependency_is_unavailable(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    running_server.servicer.error = Broken()
    with pytest.raises(errors.Unavailable) as caught:
        await get_job(running_server, client.Caller(signer("gateway")))
    assert caught.value.code == "database_unavailable"


async def test_a_call_ends_at_its_deadline(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    running_server.servicer.hang.clear()
    with pytest.raises(errors.DeadlineExceeded):
        await get_job(running_server, client.Caller(signer("gateway")), timeout=0.1)


async def test_burst_of_one_user_leaves_the_server_to_others(
    running_server: RunningServer, signer: Callable[[str], identity.Signer], eventually: Callable[..., Any]
) -> None:
    call = client.Caller(signer("gateway"))
    one, other = (
        signer("auth").user_token(identity.User(user_id=user_id, role="user", session_id="s1"))[0]
        for user_id in ("u1", "u2")
    )
    servicer = running_server.servicer
    servicer.hang.clear()

    async def running(count: int) -> None:
        async def is_reached() -> bool:
            return len(servicer.callers) == count

        await eventually(is_reached)

    burst = [
        asyncio.create_task(get_job(running_server, call, user_token=one, timeout=60.0))
        for _ in range(shares.RUNNING + shares.WAITING + 1)
    ]
    refused = await asyncio.wait(burst, return_when=asyncio.FIRST_COMPLETED)
    (first,) = refused[0]
    assert isinstance(error := first.exception(), errors.ResourceExhausted)
    assert (error.code, error.details["retry_after_seconds"]) == ("too_many_calls", "1")
    await running(shares.RUNNING)
    others = [asyncio.create_task(get_job(running_server, call, user_token=token)) for token in (other, "")]
    await running(shares.RUNNING + len(others))
    for waiting in burst[: shares.RUNNING + 10]:
        waiting.cancel()
    servicer.hang.set()
    results = await asyncio.gather(*burst, *others, return_exceptions=True)
    assert [type(result) for result in results].count(type(None)) >= shares.WAITING - 10 + len(others)
    await get_job(running_server, call, user_token=one)


async def test_missing_server_fails_at_once_or_is_waited_for(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
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


async def test_health_and_reflection_need_no_signature(running_server: RunningServer) -> None:
    health: Any = health_pb2_grpc.HealthStub(running_server.channel)
    for name in ("", SERVICE, ADMIN_SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60.0)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(running_server.channel)  # type: ignore[arg-type]
    call = reflection.ServerReflectionInfo(timeout=60.0)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    assert {SERVICE, ADMIN_SERVICE} <= {service.name for service in answer.list_services_response.service}
    call.cancel()


async def test_stopping_server_fails_calls_only_with_unavailable(
    verifier: identity.Verifier, signer: Callable[[str], identity.Signer]
) -> None:
    """A call that arrives while the server stops gets CANCELLED from gRPC, not our error."""
    port = subprocesses.free_port()
    serving = partial(
        server.serving,
        listen=f"127.0.0.1:{port}",
        services=[
            server.Service(
                name=SERVICE,
                register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, Servicer()),  # type: ignore[abstract]
                callers={"GetJob": frozenset({"gateway"})},
            )
        ],
        verifier=verifier,
        translate=lambda error: None,
    )
    call = client.Caller(signer("gateway"))
    channel = client.channel(f"127.0.0.1:{port}", service=SERVICE, idempotent=["GetJob"])
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    stop = asyncio.Event()

    async def keep_calling() -> None:
        while not stop.is_set():
            with contextlib.suppress(errors.Unavailable):
                await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=60.0)

    calling = [asyncio.create_task(keep_calling()) for _ in range(4)]
    for _ in range(5):
        async with serving():
            await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=60.0)
    async with serving():
        stop.set()
        await asyncio.gather(*calling)
    await channel.close()


async def test_each_service_of_a_server_has_its_own_callers(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    stub = admin_service_pb2_grpc.AdminServiceStub(running_server.channel)
    request = admin_service_pb2.ListKindsRequest()
    await client.Caller(signer("demo"))(stub.ListKinds, request, timeout=60.0)
    with pytest.raises(errors.PermissionDenied):
        await client.Caller(signer("gateway"))(stub.ListKinds, request, timeout=60.0)


def watch(
    running_server: RunningServer, call: client.Caller, **options: Any
) -> AsyncGenerator[jobs_service_pb2.WatchJobResponse, None]:
    """Open a stream."""
    return call.stream(running_server.stub.WatchJob, jobs_service_pb2.WatchJobRequest(), **options)


async def test_stream_yields_all_responses_and_ends(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    token, _ = signer("auth").user_token(USER)
    responses = [
        response async for response in watch(running_server, client.Caller(signer("gateway")), user_token=token)
    ]
    assert len(responses) == 2
    assert [(caller.service, caller.user) for caller in running_server.servicer.callers] == [("gateway", USER)]


async def test_stream_has_the_access_control_of_a_call(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    with pytest.raises(errors.PermissionDenied) as caught:
        await anext(watch(running_server, client.Caller(signer("demo"))))
    assert caught.value.code == "caller_not_allowed"
    with pytest.raises(grpc.aio.AioRpcError) as unsigned:
        await anext(aiter(running_server.stub.WatchJob(jobs_service_pb2.WatchJobRequest())))
    assert unsigned.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert running_server.servicer.callers == []


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (errors.OutOfRange("There is no event 7.", code="cursor_unknown"), "OUT_OF_RANGE", "cursor_unknown"),
        (Broken(), "UNAVAILABLE", "database_unavailable"),
        (ValueError("password=hunter2"), "INTERNAL", "internal"),
        (TimeoutError(), "DEADLINE_EXCEEDED", "deadline_exceeded"),
    ],
)
async def test_a_stream_ends_with_the_error_of_the_servicer(
    running_server: RunningServer, signer: Callable[[str], identity.Signer], raised: Exception, status: str, code: str
) -> None:
    running_server.servicer.error = raised
    responses = watch(running_server, client.Caller(signer("gateway")))
    await anext(responses)
    with pytest.raises(errors.Error) as caught:
        await anext(responses)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert "hunter2" not in caught.value.message


async def test_abandoned_stream_ends_at_the_servicer(
    running_server: RunningServer,
    signer: Callable[[str], identity.Signer],
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    running_server.servicer.hang.clear()
    async with contextlib.aclosing(watch(running_server, client.Caller(signer("gateway")))) as responses:
        await anext(responses)
        assert running_server.servicer.open_streams == 1

    async def is_closed() -> bool:
        return running_server.servicer.open_streams == 0

    await eventually(is_closed)


async def test_open_streams_get_restarting_and_do_not_delay_the_stop(
    verifier: identity.Verifier, signer: Callable[[str], identity.Signer]
) -> None:
    servicer = Servicer()  # type: ignore[abstract]
    servicer.hang.clear()
    served_service = server.Service(
        name=SERVICE,
        register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, servicer),
        callers={"WatchJob": frozenset({"gateway"})},
    )
    serving = server.serving(
        listen="127.0.0.1:0", services=[served_service], verifier=verifier, translate=lambda error: None
    )
    async with serving as port:
        channel = client.channel(f"127.0.0.1:{port}", service=SERVICE)
        stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        responses = client.Caller(signer("gateway")).stream(stub.WatchJob, jobs_service_pb2.WatchJobRequest())
        await anext(responses)
        ended = asyncio.ensure_future(anext(responses))
    # Nobody has cut it: the servicer's code was left before the server was gone.
    assert servicer.open_streams == 0
    with pytest.raises(errors.Unavailable) as caught:
        await ended
    assert caught.value.code == "restarting"
    await channel.close()
