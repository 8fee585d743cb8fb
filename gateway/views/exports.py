"""Exports of a user's reviews."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import times
from gateway.views.times import ErrorInfo
from repruv.demo.v1 import exports_service_pb2

ExportState = Literal["none", "exporting", "ready", "failed"]

_STATES = {
    value: cast("ExportState", name.removeprefix("EXPORT_STATE_").lower())
    for name, value in exports_service_pb2.ExportState.items()
}


class ExportAccepted(TypedDict):
    """An accepted request; the job does the work."""

    status: ExportState
    job_id: str


class ExportStatus(TypedDict):
    """The export of a user's reviews. Of two snapshots the one with the higher `version` is the newer."""

    status: ExportState
    job_id: str | None
    rows: Annotated[int, Field(description="Rows of the complete file.")]
    rows_written: int
    bytes: int
    error: ErrorInfo | None
    changed_at: str | None
    expires_at: Annotated[str | None, Field(description="When the file is deleted; set while ready.")]
    version: int


def export_state(export: exports_service_pb2.Export) -> ExportState:
    """Return the state of an export."""
    return _STATES[export.state]


def export_status(export: exports_service_pb2.Export) -> ExportStatus:
    """Return an export as it was when the snapshot was taken."""
    return {
        "status": export_state(export),
        "job_id": export.job_id or None,
        "rows": export.row_count,
        "rows_written": export.rows_written,
        "bytes": export.byte_count,
        "error": times.error(export.error) if export.HasField("error") else None,
        "changed_at": times.optional_time(export, "change_time"),
        "expires_at": times.optional_time(export, "expire_time"),
        "version": export.version,
    }
