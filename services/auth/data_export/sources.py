"""The rows of a user in every service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import grpc
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import owner_rows as chassis_rows
from chassis import postgres
from chassis.rpc import client
from repruv.demo.v1 import demo_service_pb2, demo_service_pb2_grpc
from services.auth.data_export import owner_rows

DEMO_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Part:
    """The next rows of a table, or why a table is left out."""

    table: str
    rows: bytes = b""
    reason: str = ""


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
        return (("Reading your account", self._own), ("Reading demo data", self._demo), ("Reading jobs", self._jobs))

    async def _own(self, user_id: UUID) -> AsyncGenerator[Part, None]:
        engine = postgres.autocommit(self.engine)
        for table in owner_rows.TABLES:
            yield Part(table.name)
            async with aclosing(chassis_rows.read(engine, table, user_id)) as parts:
                async for rows in parts:
                    yield Part(table.name, rows)
        for name, reason in owner_rows.LEFT_OUT.items():
            yield Part(name, reason=reason)

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
