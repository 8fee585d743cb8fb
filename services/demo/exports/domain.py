"""The states of an export, its transitions, and what its job does to them. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from chassis import errors
from lifecycle import machine
from lifecycle.machine import Ending, Error, File, Step

KIND = "demo.export"
MAX_ROWS = 100_000
MAX_BYTES = 64 << 20
MAX_CHUNK_BYTES = 4 << 20
LIFETIME = timedelta(days=7)
"""How long a file, or a failure and what was written for it, is kept."""


class State(StrEnum):
    """The state of an owner's export. Its file can be downloaded only while it is `ready`."""

    NONE = "none"
    """There is no file. StartExport moves it out, and so does a retry of the job that was cancelled."""
    EXPORTING = "exporting"
    """A job writes the file. Its last chunk moves it to ready; its end without success to failed or none.
    A crash of the worker loses nothing: the next attempt continues after the last chunk."""
    READY = "ready"
    """The file is complete. StartExport replaces it, and the expiry moves it to none."""
    FAILED = "failed"
    """The job ended without success; `error` says why. StartExport and a retry of the job move it out, and the expiry.
    Its chunks are kept for that retry."""


class Action(StrEnum):
    """What can happen to an export. The value is the reason in its event."""

    START = "export_accepted"
    COMPLETE = "exported"
    CANCEL = "export_cancelled"
    FAIL = "job_failed"
    RESUME = "export_resumed"
    EXPIRE = "expired"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    Action.START: (frozenset({State.NONE, State.READY, State.FAILED}), State.EXPORTING),
    Action.COMPLETE: (frozenset({State.EXPORTING}), State.READY),
    Action.CANCEL: (frozenset({State.EXPORTING}), State.NONE),
    Action.FAIL: (frozenset({State.EXPORTING}), State.FAILED),
    Action.RESUME: (frozenset({State.FAILED, State.NONE}), State.EXPORTING),
    Action.EXPIRE: (frozenset({State.READY, State.FAILED}), State.NONE),
}
"""Action -> (from these states, to that state). The CHECK `exports_transition_known` and the README's diagram must match."""


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
            completed=_failure("export_incomplete", "The job ended, but the file is not complete."),
            rejected=_failure("job_rejected", "The job for this could not be created."),
            resume=Action.RESUME,
        )
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(File):
    """An owner's export."""

    owner_id: UUID
    state: State = State.NONE
    demo_generation: int = 0
    """The generation of demo mode whose rows are exported."""
    row_count: int = 0
    rows_written: int = 0

    @property
    def key(self) -> machine.Key:
        """The primary key."""
        return (self.owner_id,)


DEMO_NOT_ENABLED = Error(code="demo_not_enabled", message="There are no reviews to export: demo mode is not enabled.")
TOO_LARGE = Error(code="export_too_large", message="The file would be larger than 64 MiB.")


def refusal(error: Error) -> errors.FailedPrecondition:
    """Return the error for a request that the present state forbids."""
    return errors.FailedPrecondition(error.message, code=error.code)
