"""Exports of reviews."""

from __future__ import annotations

from gateway.clients.exports import Exports as ExportsClient
from gateway.stream.sources.source import Fetched, Source
from gateway.views import exports as views
from repruv.demo.v1 import exports_service_pb2
from repruv.jobs.v1 import job_pb2


class Exports(Source[exports_service_pb2.Export]):
    """The export of an owner. Its progress comes with its job."""

    event = "export"
    subject = "demo.events.exports"
    job_kinds = frozenset({"demo.export"})

    def __init__(self, exports: ExportsClient) -> None:
        self._exports = exports

    def parse(self, payload: bytes) -> exports_service_pb2.Export:
        return exports_service_pb2.ExportEvent.FromString(payload).export

    async def fetch(self, identity: str, *, quick: bool = False) -> Fetched[exports_service_pb2.Export]:
        rpc = self._exports.get_export
        return Fetched([(await (rpc.quick if quick else rpc)(identity)).export])

    def job_id(self, snapshot: exports_service_pb2.Export) -> str:
        return snapshot.job_id

    def is_in_progress(self, snapshot: exports_service_pb2.Export) -> bool:
        """Return whether a job writes the file."""
        return views.export_state(snapshot) == "exporting"

    def job_spec(self, snapshot: exports_service_pb2.Export) -> job_pb2.JobSpec:
        """Return kind and owner of the job that writes the file."""
        return job_pb2.JobSpec(kind="demo.export", owner_id=snapshot.owner_id)

    def show(self, snapshot: exports_service_pb2.Export, job: job_pb2.Job | None) -> views.ExportStatus | None:
        """Return the JSON of `GET /exports`; None for an owner who never exported."""
        return views.export_status(snapshot) if snapshot.version else None
