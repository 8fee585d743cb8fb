"""DataExportService over gRPC. Every call acts for its user, on that user's export only."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from chassis import protobuf
from chassis.rpc.admission import Context as RpcContext
from repruv.auth.v1 import data_export_service_pb2 as pb
from repruv.auth.v1 import data_export_service_pb2_grpc
from services.auth import convert
from services.auth.data_export.convert import data_export_to_proto
from services.auth.data_export.operations import DataExports
from services.auth.servicer import actor

_SERVICE = pb.DESCRIPTOR.services_by_name["DataExportService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""


class DataExportServicer(data_export_service_pb2_grpc.DataExportServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, data_exports: DataExports) -> None:
        self._data_exports = data_exports

    async def StartDataExport(
        self, request: pb.StartDataExportRequest, context: RpcContext
    ) -> pb.StartDataExportResponse:
        export = await self._data_exports.start(actor(), client=convert.client_from_proto(request.client))
        return pb.StartDataExportResponse(data_export=data_export_to_proto(export))

    async def GetDataExport(self, request: pb.GetDataExportRequest, context: RpcContext) -> pb.GetDataExportResponse:
        data_export, fresh_until = await self._data_exports.get(actor())
        return pb.GetDataExportResponse(
            data_export=data_export_to_proto(data_export), fresh_until_time=protobuf.to_timestamp(fresh_until)
        )

    async def DownloadDataExport(
        self, request: pb.DownloadDataExportRequest, context: RpcContext
    ) -> AsyncGenerator[pb.DownloadDataExportResponse, None]:
        async with aclosing(await self._data_exports.download(actor())) as chunks:
            async for data in chunks:
                yield pb.DownloadDataExportResponse(data=data)
