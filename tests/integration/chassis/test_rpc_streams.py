"""Streams between services: access control, errors, abandoned streams, and the stop of a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import pytest

from chassis import errors, identity
from chassis.rpc import client, server
from repruv.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from tests.integration.chassis.rpc_server import (
    SERVICE,
    USER,
    Broken,
    RunningServer,
    Servicer,
)


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
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await anext(watch(running_server, client.Caller(signer("demo"))))
    assert excinfo.value.code == "caller_not_allowed"
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
    with pytest.raises(errors.Error) as excinfo:
        await anext(responses)
    assert (excinfo.value.status, excinfo.value.code) == (status, code)
    assert "hunter2" not in excinfo.value.message


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
    with pytest.raises(errors.Unavailable) as excinfo:
        await ended
    assert excinfo.value.code == "restarting"
    await channel.close()
