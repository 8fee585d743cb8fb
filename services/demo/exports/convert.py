"""Exports as protobuf messages. Pure."""

from __future__ import annotations

from chassis import protobuf
from lifecycle.file_states import Action, State
from repruv.demo.v1 import exports_service_pb2
from repruv.jobs.v1 import job_pb2
from services.demo.exports.domain import Export

_STATES = protobuf.Enum(exports_service_pb2.ExportState.DESCRIPTOR, State)


def export_to_proto(export: Export) -> exports_service_pb2.Export:
    return exports_service_pb2.Export(
        owner_id=str(export.owner_id),
        state=_STATES.to_proto(export.state),
        version=export.version,
        job_id=str(export.job_id or ""),
        row_count=export.row_count,
        rows_written=export.rows_written,
        byte_count=export.byte_count,
        error=job_pb2.JobError(code=export.error.code, message=export.error.message) if export.error else None,
        change_time=protobuf.to_timestamp(export.changed_at),
        expire_time=protobuf.to_timestamp(export.expires_at),
    )


def event_to_proto(export: Export, action: Action) -> exports_service_pb2.ExportEvent:
    """Return the event of the transition that led to `export`."""
    return exports_service_pb2.ExportEvent(export=export_to_proto(export), reason=action.value)
