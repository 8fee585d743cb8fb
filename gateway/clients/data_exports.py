"""Exports of a user's data."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from chassis.rpc import client
from gateway.clients import service
from repruv.auth.v1 import data_export_service_pb2 as pb
from repruv.auth.v1 import data_export_service_pb2_grpc

DOWNLOAD_SECONDS = 600.0


class DataExports(service.Client):
    """Data exports, which the auth service owns."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        super().__init__("auth", target, caller, ("GetDataExport",), service="DataExport")
        stub = data_export_service_pb2_grpc.DataExportServiceStub(self._channel)
        self.start = self.rpc(stub.StartDataExport, pb.StartDataExportRequest)
        self.get = self.rpc(stub.GetDataExport, pb.GetDataExportRequest)
        self._stub = stub

    async def download(self, *, user: str) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the archive. Raises `NotFound` or `PermissionDenied` before the first one."""
        request = pb.DownloadDataExportRequest()
        call = self._caller.stream(self._stub.DownloadDataExport, request, timeout=DOWNLOAD_SECONDS, user_token=user)
        async with aclosing(call) as responses:
            async for response in responses:
                yield response.data
