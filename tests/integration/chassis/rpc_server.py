"""A server with two services, whose answers a test configures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from chassis import identity
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
