"""The rows of a user in every service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import grpc
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis.owner_rows import OwnerRows, Part
from chassis.rpc import client
from repruv.demo.v1 import demo_service_pb2, demo_service_pb2_grpc
from services.auth.data_export import owner_rows

DEMO_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Reads the rows of a user here and in the other services."""

    engine: AsyncEngine
    demo_channel: grpc.aio.Channel
    call: client.Caller
    jobs: worker.JobsClient

    @property
    def services(self) -> tuple[tuple[str, Callable[[UUID], AsyncGenerator[Part, None]]], ...]:
        """What is read, in order, with the words for its progress."""
        auth_rows = OwnerRows(engine=self.engine, tables=owner_rows.TABLES, left_out=owner_rows.LEFT_OUT)
        return (
            ("Reading your account", auth_rows.stream),
            ("Reading sample data", self._demo),
            ("Reading jobs", self._jobs),
        )

    async def _demo(self, user_id: UUID) -> AsyncGenerator[Part, None]:
        stub = demo_service_pb2_grpc.DemoServiceStub(self.demo_channel)
        request = demo_service_pb2.StreamOwnerRowsRequest(owner_id=str(user_id))
        stream = self.call.stream(stub.StreamOwnerRows, request, timeout=DEMO_SECONDS, user_token="")
        async with aclosing(stream) as responses:
            async for response in responses:
                yield Part(response.table, response.rows, response.reason)

    async def _jobs(self, user_id: UUID) -> AsyncGenerator[Part, None]:
        async with aclosing(self.jobs.stream_owner_rows(str(user_id))) as responses:
            async for response in responses:
                yield Part(response.table, response.rows, response.reason)
