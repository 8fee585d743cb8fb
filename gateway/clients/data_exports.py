"""Exports of a user's data."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.clients import service
from repruv.auth.v1 import data_export_service_pb2 as pb
from repruv.auth.v1 import data_export_service_pb2_grpc


class DataExports(service.Client):
    """Data exports, which the auth service owns."""

    descriptor = pb.DESCRIPTOR.services_by_name["DataExportService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = data_export_service_pb2_grpc.DataExportServiceStub(peer.channel)
        self.start = self.rpc(stub.StartDataExport, pb.StartDataExportRequest)
        self.get = self.rpc(stub.GetDataExport, pb.GetDataExportRequest)
        self._stub = stub

    def download_export(self, *, identity: str) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the archive. Raises `NotFound` or `PermissionDenied` before the first one."""
        return self.download(self._stub.DownloadDataExport, pb.DownloadDataExportRequest(), identity)
