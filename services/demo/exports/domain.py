"""An export of reviews: its kind of job, its bounds and its snapshot. Pure: no clock, no database, no network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from chassis import errors
from lifecycle import file_states
from lifecycle.file_states import File
from lifecycle.machine import Error, Key

KIND = "demo.export"
MAX_ROWS = 100_000
MAX_BYTES = 64 << 20
MAX_CHUNK_BYTES = 4 << 20
LIFETIME = timedelta(days=7)
"""How long a file, or a failure and what was written for it, is kept."""

MACHINE = file_states.machine(KIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(File):
    owner_id: UUID
    demo_generation: int = 0
    """The generation of demo mode whose rows are exported."""
    row_count: int = 0
    rows_written: int = 0

    @property
    def key(self) -> Key:
        return (self.owner_id,)


DEMO_NOT_ENABLED = Error(code="demo_not_enabled", message="There are no reviews to export: demo mode is not enabled.")
TOO_LARGE = Error(code="export_too_large", message="The file would be larger than 64 MiB.")


def refusal(error: Error) -> errors.FailedPrecondition:
    """Return the error for a request that the current state forbids."""
    return errors.FailedPrecondition(error.message, code=error.code)
