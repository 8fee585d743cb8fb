"""An export of a user's data: its kind of job, its bounds and its snapshot. Pure: no clock, no database, no network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from chassis import errors
from lifecycle import file_states
from lifecycle.file_states import File
from lifecycle.machine import Error, Key

KIND = "auth.export-data"
MAX_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
LIFETIME = timedelta(days=3)
"""How long an archive, or a failure, is kept."""

MACHINE = file_states.machine(KIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataExport(File):
    user_id: UUID

    @property
    def key(self) -> Key:
        return (self.user_id,)


class DataExportRunning(errors.FailedPrecondition):
    """Your data is already being exported. Wait for the end of the export, or cancel it."""

    default_code = "data_export_running"


class DataExportNotFound(errors.NotFound):
    """There is no exported data."""

    default_code = "data_export_not_found"


TOO_LARGE = Error(code="data_export_too_large", message="The archive would be larger than 64 MiB.")
