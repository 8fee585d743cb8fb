"""Calls between services: signatures, callers, deadlines and errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
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
from tests.integration.chassis.rpc_server import (
    ADMIN_SERVICE,
    SERVICE,
    USER,
    Broken,
    RunningServer,
    Servicer,
)


async def get_job(running_server: RunningServer, call: client.Caller, **options: Any) -> None:
    """Make the call."""
    await call(running_server.stub.GetJob, jobs_service_pb2.GetJobRequest(), **{"timeout": 60.0, **options})


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
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await get_job(running_server, client.Caller(signer("demo")))
    assert excinfo.value.code == "caller_not_allowed"
    assert running_server.servicer.callers == []


async def test_rpc_without_callers_is_refused_to_all(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    call = client.Caller(signer("gateway"))
    with pytest.raises(errors.PermissionDenied):
        await call(running_server.stub.ListJobs, jobs_service_pb2.ListJobsRequest(), timeout=60.0)


async def test_an_unsigned_call_is_refused(running_server: RunningServer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as excinfo:
        await running_server.stub.GetJob(jobs_service_pb2.GetJobRequest(), timeout=60.0)
    assert excinfo.value.code() is grpc.StatusCode.UNAUTHENTICATED
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
    with pytest.raises(type(error)) as excinfo:
        await get_job(running_server, client.Caller(signer("gateway")))
    received = excinfo.value
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
    with pytest.raises(errors.Internal) as excinfo:
        await get_job(running_server, client.Caller(signer("gateway")))
    assert "hunter2" not in str(excinfo.value)


async def test_unreachable_dependency_is_unavailable(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    running_server.servicer.error = Broken()
    with pytest.raises(errors.Unavailable) as excinfo:
        await get_job(running_server, client.Caller(signer("gateway")))
    assert excinfo.value.code == "database_unavailable"


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
    first_response, other = (
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
        asyncio.create_task(get_job(running_server, call, user_token=first_response, timeout=60.0))
        for _ in range(shares.MAX_RUNNING + shares.MAX_WAITING + 1)
    ]
    refused = await asyncio.wait(burst, return_when=asyncio.FIRST_COMPLETED)
    (first,) = refused[0]
    assert isinstance(error := first.exception(), errors.ResourceExhausted)
    assert (error.code, error.details["retry_after_seconds"]) == ("too_many_calls", "1")
    await running(shares.MAX_RUNNING)
    others = [asyncio.create_task(get_job(running_server, call, user_token=token)) for token in (other, "")]
    await running(shares.MAX_RUNNING + len(others))
    for waiting in burst[: shares.MAX_RUNNING + 10]:
        waiting.cancel()
    servicer.hang.set()
    results = await asyncio.gather(*burst, *others, return_exceptions=True)
    assert [type(result) for result in results].count(type(None)) >= shares.MAX_WAITING - 10 + len(others)
    await get_job(running_server, call, user_token=first_response)


async def test_missing_server_fails_at_once_or_is_waited_for(
    running_server: RunningServer, signer: Callable[[str], identity.Signer]
) -> None:
    channel = client.channel("127.0.0.1:1", service=SERVICE)
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    call = client.Caller(signer("gateway"))
    with pytest.raises(errors.Unavailable) as excinfo:
        await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=30.0, wait_for_ready=False)
    assert "127.0.0.1" not in excinfo.value.message
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
    channel = client.channel(f"127.0.0.1:{port}", service=SERVICE, idempotent=[f"{SERVICE}/GetJob"])
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
