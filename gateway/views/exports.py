"""Exports of a user's reviews, and of everything that is stored about a user."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf
from gateway.views import derive
from gateway.views.times import ErrorInfo
from repruv.auth.v1 import data_export_service_pb2
from repruv.demo.v1 import exports_service_pb2

ExportState = Literal["none", "exporting", "ready", "failed"]
_STATES: dict[exports_service_pb2.ExportState.ValueType, ExportState] = protobuf.enum_names(
    exports_service_pb2.ExportState.DESCRIPTOR
)


class ExportAccepted(TypedDict):
    """An accepted request; the job does the work."""

    status: ExportState
    job_id: str


class ExportStatus(TypedDict):
    """The export of a user's reviews. Of two snapshots the one with the higher `version` is the newer."""

    status: Annotated[ExportState, derive.Of("state")]
    job_id: str | None
    rows: Annotated[int, derive.Of("row_count"), Field(description="Rows of the complete file.")]
    rows_written: int
    bytes: Annotated[int, derive.Of("byte_count")]
    error: ErrorInfo | None
    changed_at: str | None
    expires_at: Annotated[str | None, Field(description="When the file is deleted; set while ready.")]
    version: int


def export_state(export: exports_service_pb2.Export) -> ExportState:
    return _STATES[export.state]


export_status = derive.view(ExportStatus, exports_service_pb2.Export)
"""Returns an export as it was when the snapshot was taken."""


class DataExportStatus(TypedDict):
    """The export of a user's data. Of two snapshots the one with the higher `version` is the newer."""

    status: Annotated[ExportState, derive.Of("state")]
    job_id: str | None
    bytes: Annotated[int, derive.Of("byte_count")]
    error: ErrorInfo | None
    changed_at: str | None
    expires_at: Annotated[str | None, Field(description="When the archive is deleted; set while ready.")]
    version: int


data_export = derive.view(DataExportStatus, data_export_service_pb2.DataExport)
"""Returns a data export as it was when the snapshot was taken."""
