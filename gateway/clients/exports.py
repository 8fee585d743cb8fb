"""Exports of a user's reviews."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.clients import service
from repruv.demo.v1 import exports_service_pb2 as pb
from repruv.demo.v1 import exports_service_pb2_grpc


class Exports(service.Client):
    """Exports, which the demo service owns."""

    descriptor = pb.DESCRIPTOR.services_by_name["ExportsService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = exports_service_pb2_grpc.ExportsServiceStub(peer.channel)
        self.start_export = self.rpc(stub.StartExport, pb.StartExportRequest)
        self.get_export = self.rpc(stub.GetExport, pb.GetExportRequest)
        self._stub = stub

    def download_export(self, *, identity: str) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the file. Raises `NotFound` before the first one."""
        return self.download(self._stub.DownloadExport, pb.DownloadExportRequest(), identity)
