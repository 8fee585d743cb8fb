"""Connections end to end: gRPC, NATS, the real jobs and demo services, a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import pytest

from chassis import bus, errors, identity, postgres
from chassis.rpc import client
from dev import subprocesses
from repruv.auth.v1 import auth_events_pb2, connection_pb2
from repruv.auth.v1 import connections_service_pb2 as pb
from repruv.auth.v1 import connections_service_pb2_grpc as pb_grpc
from repruv.demo.v1 import demo_service_pb2, demo_service_pb2_grpc
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from services.auth import __main__ as auth_service
from services.auth.connections import servicer
from services.auth.connections.platforms import Platform
from services.auth.settings import Settings, WorkerSettings
from services.demo import __main__ as demo_service
from services.demo.settings import Settings as DemoSettings
from tests.integration.auth.connections.owners import insert_user

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The services as the gateway sees them."""

    auth: grpc.aio.Channel
    demo: grpc.aio.Channel
    jobs: grpc.aio.Channel
    call: client.Caller
    token: str
    user_id: str

    async def connections(self, rpc: str, **fields: Any) -> Any:
        stub = pb_grpc.ConnectionsServiceStub(self.auth)
        request = getattr(pb, f"{rpc}Request")(**fields)
        return await self.call(getattr(stub, rpc), request, timeout=60.0, user_token=self.token)

    async def enable_demo(self) -> None:
        stub = demo_service_pb2_grpc.DemoServiceStub(self.demo)
        request = demo_service_pb2.EnableDemoRequest(content_count=1)
        await self.call(stub.EnableDemo, request, timeout=60.0, user_token=self.token)

    async def list_jobs(self) -> dict[str, job_pb2.Job]:
        """The user's jobs, by kind."""
        stub = jobs_service_pb2_grpc.JobsServiceStub(self.jobs)
        request = jobs_service_pb2.ListJobsRequest()
        answer = await self.call(stub.ListJobs, request, timeout=60.0, user_token=self.token)
        return {job.spec.kind: job for job in answer.jobs}

    async def state(self, platform: str) -> int:
        answer = await self.connections("GetConnection", platform=platform)
        return int(answer.connection.state)


@pytest.fixture
async def doors(
    services_database: Callable[[str], str],
    nats_url: str,
    seeds: dict[str, str],
    trusted_identity_keys: str,
    jobs_target: str,
    signer: Callable[[str], identity.Signer],
    offered: tuple[Platform, ...],
) -> AsyncIterator[Doors]:
    auth_target, demo_target = (f"127.0.0.1:{subprocesses.free_port()}" for _ in range(2))
    shared: dict[str, Any] = {
        "nats_url": nats_url,
        "trusted_identity_keys": trusted_identity_keys,
        "jobs_target": jobs_target,
    }
    environment: dict[str, Any] = {
        **shared,
        "database_url": services_database("auth"),
        "identity_key": seeds["auth"],
        "encryption_keys": "a:" + "A" * 43,
        "demo_target": demo_target,
    }
    stop = asyncio.Event()
    demo_config = DemoSettings(
        listen=demo_target, database_url=services_database("demo"), identity_key=seeds["demo"], **shared
    )
    config = Settings(listen=auth_target, password_memory_kib=64, **environment)
    running = [
        asyncio.create_task(demo_service.serve(demo_config, stop)),
        asyncio.create_task(auth_service.serve(config, stop, offered=offered)),
        asyncio.create_task(auth_service.work(WorkerSettings(**environment), stop, offered=offered)),
    ]
    engine = postgres.engine(services_database("auth"), name="test-users")
    user_id = str(await insert_user(engine))
    await engine.dispose()
    user = identity.User(user_id=user_id, role="user", session_id=str(uuid4()))
    channels = [
        client.channel(auth_target, service=servicer.SERVICE),
        client.channel(demo_target, service="repruv.demo.v1.DemoService"),
        client.channel(jobs_target, service="repruv.jobs.v1.JobsService"),
    ]
    yield Doors(
        auth=channels[0],
        demo=channels[1],
        jobs=channels[2],
        call=client.Caller(signer("gateway")),
        token=signer("auth").user_token(user)[0],
        user_id=user_id,
    )
    for channel in channels:
        await channel.close()
    stop.set()
    await asyncio.gather(*running)


async def test_a_platform_is_connected_and_disconnected_through_the_real_services(
    doors: Doors, eventually: Eventually, go: Callable[[str], Awaitable[dict[str, str]]], nats_url: str
) -> None:
    observed: list[auth_events_pb2.ConnectionEvent] = []
    published: list[bytes] = []

    async def receive(received: bus.Received) -> None:
        published.append(received.payload)
        observed.append(auth_events_pb2.ConnectionEvent.FromString(received.payload))

    async def hear_anything(received: bus.Received) -> None:
        published.append(received.payload)

    listening = bus.Bus(nats_url, name="test-listening")
    listening.subscribe(f"auth.events.connections.{doors.user_id}", receive)
    listening.subscribe("jobs.>", hear_anything)
    hearing = asyncio.create_task(listening.run())

    async def is_listening() -> bool:
        return listening.is_connected

    await eventually(is_listening)
    authorization = await doors.connections("BeginConnect", platform="tampering", return_to="/demo")
    back = await go(authorization.authorization_url)
    finished = await doors.connections("FinishConnect", platform="tampering", state=back["state"], code=back["code"])
    assert finished.return_to == "/demo"
    assert finished.connection.job_id

    async def is_in(state: int) -> bool:
        return await doors.state("tampering") == state

    await eventually(lambda: is_in(connection_pb2.CONNECTION_STATE_CONNECTED))
    await doors.connections("Disconnect", platform="tampering")
    await eventually(lambda: is_in(connection_pb2.CONNECTION_STATE_DISCONNECTED))

    async def jobs_are_done() -> bool:
        jobs = await doors.list_jobs()
        return {jobs[kind].state for kind in ("auth.connect", "auth.disconnect") if kind in jobs} == {
            job_pb2.JOB_STATE_COMPLETED
        }

    await eventually(jobs_are_done)
    assert dict((await doors.list_jobs())["auth.disconnect"].result)["revoked"] is True

    async def all_was_told() -> bool:
        return len(observed) >= 5

    await eventually(all_was_told)
    reasons = [event.reason for event in sorted(observed, key=lambda event: event.connection.version)]
    assert reasons == ["connect_begun", "consent_given", "connected", "disconnect_accepted", "disconnected"]
    assert all(event.connection.title == "T" for event in observed)
    for secret in (back["code"], back["state"], "canary-client-secret"):
        assert all(secret.encode() not in payload for payload in published)
    hearing.cancel()


async def test_demo_mode_prevents_connecting_until_it_is_disabled(doors: Doors, eventually: Eventually) -> None:
    async def is_ready() -> bool:
        try:
            await doors.enable_demo()
        except errors.Unavailable:
            return False
        return True

    await eventually(is_ready)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await doors.connections("BeginConnect", platform="tampering")
    assert excinfo.value.code == "demo_mode_active"


async def test_only_the_gateway_for_a_user_may_call(doors: Doors, signer: Callable[[str], identity.Signer]) -> None:
    stub = pb_grpc.ConnectionsServiceStub(doors.auth)
    with pytest.raises(errors.Unauthenticated):
        await doors.call(stub.ListConnections, pb.ListConnectionsRequest(), timeout=60.0, user_token="")
    as_demo = client.Caller(signer("demo"))
    with pytest.raises(errors.PermissionDenied):
        await as_demo(stub.ListConnections, pb.ListConnectionsRequest(), timeout=60.0, user_token=doors.token)
