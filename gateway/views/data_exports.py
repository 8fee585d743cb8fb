"""Exports of a user's data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import derive
from gateway.views.times import ErrorInfo
from repruv.auth.v1 import data_export_service_pb2

DataExportState = Literal["none", "exporting", "ready", "failed"]


class DataExportStatus(TypedDict):
    """The export of a user's data. Of two snapshots the one with the higher `version` is the newer."""

    status: Annotated[DataExportState, derive.Of("state")]
    job_id: str | None
    bytes: Annotated[int, derive.Of("byte_count")]
    error: ErrorInfo | None
    changed_at: str | None
    expires_at: Annotated[str | None, Field(description="When the archive is deleted; set while ready.")]
    version: int


data_export = derive.view(DataExportStatus, data_export_service_pb2.DataExport)
"""Returns a data export as it was when the snapshot was taken."""
