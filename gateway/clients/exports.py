"""Exports of a user's reviews, and of everything that is stored about a user."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.clients import service
from repruv.auth.v1 import data_export_service_pb2, data_export_service_pb2_grpc
from repruv.demo.v1 import exports_service_pb2, exports_service_pb2_grpc


class Exports(service.Client):
    """Exports, which the demo service owns."""

    descriptor = exports_service_pb2.DESCRIPTOR.services_by_name["ExportsService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = exports_service_pb2_grpc.ExportsServiceStub(peer.channel)
        self.start_export = self.rpc(stub.StartExport, exports_service_pb2.StartExportRequest)
        self.get_export = self.rpc(stub.GetExport, exports_service_pb2.GetExportRequest)
        self._stub = stub

    def download_export(self, *, identity: str) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the file. Raises `NotFound` before the first one."""
        return self.download(self._stub.DownloadExport, exports_service_pb2.DownloadExportRequest(), identity)


class DataExports(service.Client):
    """Data exports, which the auth service owns."""

    descriptor = data_export_service_pb2.DESCRIPTOR.services_by_name["DataExportService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = data_export_service_pb2_grpc.DataExportServiceStub(peer.channel)
        self.start = self.rpc(stub.StartDataExport, data_export_service_pb2.StartDataExportRequest)
        self.get = self.rpc(stub.GetDataExport, data_export_service_pb2.GetDataExportRequest)
        self._stub = stub

    def download_export(self, *, identity: str) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the archive. Raises `NotFound` or `PermissionDenied` before the first one."""
        return self.download(
            self._stub.DownloadDataExport, data_export_service_pb2.DownloadDataExportRequest(), identity
        )
