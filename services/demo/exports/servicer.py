"""ExportsService over gRPC. Every call acts for its user, on that user's export only."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from chassis import identity
from chassis.rpc.admission import Context
from repruv.demo.v1 import exports_service_pb2 as pb
from repruv.demo.v1 import exports_service_pb2_grpc
from services.demo import access
from services.demo.exports import convert, operations

_SERVICE = pb.DESCRIPTOR.services_by_name["ExportsService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""
SCOPES = {"StartExport": "write", "GetExport": "read", "DownloadExport": "read"}
"""The scope with which an API token may make each rpc."""


class ExportsServicer(exports_service_pb2_grpc.ExportsServiceServicer):
    """Serves `repruv.demo.v1.ExportsService`; the protos document each rpc."""

    def __init__(self, exports: operations.Operations) -> None:
        self._exports = exports

    async def StartExport(self, request: pb.StartExportRequest, context: Context) -> pb.StartExportResponse:
        identity.caller().require_user().require_account()
        accepted = await self._exports.start(access.viewer(), key=request.idempotency_key)
        return pb.StartExportResponse(
            export=convert.export_to_proto(accepted.export), job_id=str(accepted.job_id), replayed=accepted.is_replayed
        )

    async def GetExport(self, request: pb.GetExportRequest, context: Context) -> pb.GetExportResponse:
        export = await self._exports.get(access.owner())
        return pb.GetExportResponse(export=convert.export_to_proto(export))

    async def DownloadExport(
        self, request: pb.DownloadExportRequest, context: Context
    ) -> AsyncGenerator[pb.DownloadExportResponse, None]:
        async with aclosing(await self._exports.download(access.viewer())) as chunks:
            async for data in chunks:
                yield pb.DownloadExportResponse(data=data)
