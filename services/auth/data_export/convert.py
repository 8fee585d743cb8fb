"""Data exports as protobuf messages. Pure."""

from __future__ import annotations

from chassis import protobuf
from lifecycle.file_states import State
from repruv.auth.v1 import data_export_service_pb2 as pb
from repruv.jobs.v1 import job_pb2
from services.auth.data_export.domain import DataExport

_STATES = protobuf.Enum(pb.DataExportState.DESCRIPTOR, State)


def data_export_to_proto(data_export: DataExport) -> pb.DataExport:
    error = data_export.error
    return pb.DataExport(
        user_id=str(data_export.user_id),
        state=_STATES.to_proto(data_export.state),
        version=data_export.version,
        job_id=str(data_export.job_id or ""),
        byte_count=data_export.byte_count,
        error=job_pb2.JobError(code=error.code, message=error.message) if error else None,
        change_time=protobuf.to_timestamp(data_export.changed_at),
        expire_time=protobuf.to_timestamp(data_export.expires_at),
    )
