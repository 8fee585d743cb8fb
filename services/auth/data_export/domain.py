"""The states of a data export, its transitions, and what its job does to them. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from chassis import errors
from lifecycle import machine
from lifecycle.machine import Ending, Error, File, Step

KIND = "auth.export-data"
MAX_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
LIFETIME = timedelta(days=3)
"""How long an archive, or a failure, is kept."""


class State(StrEnum):
    """The state of a user's data export. Its archive can be downloaded only while it is `ready`."""

    NONE = "none"
    """There is no archive. StartDataExport moves it out, and so does a retry of the job that was cancelled."""
    EXPORTING = "exporting"
    """A job writes the archive. Its last chunk moves it to ready; its end without success to failed or none."""
    READY = "ready"
    """The archive is complete. StartDataExport replaces it, and the expiry moves it to none."""
    FAILED = "failed"
    """The job ended without success; `error` says why. StartDataExport and a retry of the job move it out, and the expiry."""


class Action(StrEnum):
    """What can happen to a data export."""

    START = "accepted"
    COMPLETE = "exported"
    CANCEL = "cancelled"
    FAIL = "job_failed"
    RESUME = "resumed"
    EXPIRE = "expired"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    Action.START: (frozenset({State.NONE, State.READY, State.FAILED}), State.EXPORTING),
    Action.COMPLETE: (frozenset({State.EXPORTING}), State.READY),
    Action.CANCEL: (frozenset({State.EXPORTING}), State.NONE),
    Action.FAIL: (frozenset({State.EXPORTING}), State.FAILED),
    Action.RESUME: (frozenset({State.FAILED, State.NONE}), State.EXPORTING),
    Action.EXPIRE: (frozenset({State.READY, State.FAILED}), State.NONE),
}
"""Action -> (from these states, to that state). A CHECK of the table and the README's diagram must match."""


def _failure(code: str, message: str) -> Ending[Action]:
    return Ending(Action.FAIL, Error(code=code, message=message))


MACHINE = machine.Machine(
    initial=State.NONE,
    transitions=TRANSITIONS,
    # An expired export takes a new generation too: a late retry of its job is superseded.
    new_generation=frozenset({Action.START, Action.EXPIRE}),
    steps={
        KIND: Step(
            working=State.EXPORTING,
            done=State.READY,
            failed=_failure("job_failed", "The export failed without an explanation."),
            cancelled=Ending(Action.CANCEL),
            completed=_failure("export_incomplete", "The job ended, but the archive is not complete."),
            rejected=_failure("job_rejected", "The job for this could not be created."),
            resume=Action.RESUME,
        )
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataExport(File):
    """A user's data export."""

    user_id: UUID
    state: State = State.NONE

    @property
    def key(self) -> machine.Key:
        """The primary key."""
        return (self.user_id,)


class DataExportRunning(errors.FailedPrecondition):
    """Your data is already being exported. Wait for the end of the export, or cancel it."""

    default_code = "data_export_running"


class DataExportNotFound(errors.NotFound):
    """There is no exported data."""

    default_code = "data_export_not_found"


TOO_LARGE = Error(code="data_export_too_large", message="The archive would be larger than 64 MiB.")
