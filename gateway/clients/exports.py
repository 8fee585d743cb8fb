"""Exports of a user's reviews."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from chassis.rpc import client
from gateway.clients import service
from repruv.demo.v1 import exports_service_pb2, exports_service_pb2_grpc

DOWNLOAD_SECONDS = 600.0


class Exports(service.Client):
    """The demo service, as far as it exports reviews."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        # A start can be repeated since the gateway never sends it without an idempotency key.
        super().__init__("demo", target, caller, ("StartExport", "GetExport"), service="Exports")
        self._stub = exports_service_pb2_grpc.ExportsServiceStub(self._channel)

    async def start_export(self, *, idempotency_key: str, user: str) -> exports_service_pb2.StartExportResponse:
        """Start an export."""
        request = exports_service_pb2.StartExportRequest(idempotency_key=idempotency_key)
        return await self.call(self._stub.StartExport, request, user)

    async def get_export(self, *, user: str, quick: bool = False) -> exports_service_pb2.Export:
        """Return the user's export."""
        request = exports_service_pb2.GetExportRequest()
        return (await self.call(self._stub.GetExport, request, user, quick=quick)).export

    async def download_export(self, *, user: str) -> AsyncGenerator[bytes]:
        """Yield the parts of the file. Raises `NotFound` before the first one."""
        request = exports_service_pb2.DownloadExportRequest()
        call = self._caller.stream(self._stub.DownloadExport, request, timeout=DOWNLOAD_SECONDS, user_token=user)
        async for response in call:
            yield response.data
