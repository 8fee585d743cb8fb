"""The states of a file that a job writes, its transitions, and what its job does to them. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lifecycle.machine import Ending, Error, Machine, Resource, Step


class State(StrEnum):
    """The state of a file. It can be downloaded only while it is `ready`."""

    NONE = "none"
    """There is no file. The start of an export ends this state, and so does a retry of the job that was cancelled."""
    EXPORTING = "exporting"
    """A job writes the file. Its last chunk changes the state to ready. If the job fails, the state becomes failed; if it is
    cancelled, none.
    After a crash of the worker the next attempt writes what is missing."""
    READY = "ready"
    """The file is complete. Another export replaces it, and the expiry deletes it. If the worker could not report the last chunk,
    the state follows the job: it becomes none if the job was cancelled, failed if it failed."""
    FAILED = "failed"
    """The job ended without success; `error` says why. Another export, a retry of the job and the expiry end this state."""


class Action(StrEnum):
    """What can happen to a file. The value is the reason in its event."""

    START = "export_accepted"
    COMPLETE = "exported"
    CANCEL = "export_cancelled"
    FAIL = "job_failed"
    RESUME = "export_resumed"
    EXPIRE = "expired"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    Action.START: (frozenset({State.NONE, State.READY, State.FAILED}), State.EXPORTING),
    Action.COMPLETE: (frozenset({State.EXPORTING}), State.READY),
    Action.CANCEL: (frozenset({State.EXPORTING, State.READY}), State.NONE),
    Action.FAIL: (frozenset({State.EXPORTING, State.READY}), State.FAILED),
    Action.RESUME: (frozenset({State.FAILED, State.NONE}), State.EXPORTING),
    Action.EXPIRE: (frozenset({State.READY, State.FAILED}), State.NONE),
}
"""Action -> (from these states, to that state). The CHECK of each table and the diagram of each README must match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Resource):
    """The snapshot of a file. A job writes it in chunks (`lifecycle.files`)."""

    state: State = State.NONE
    chunk_count: int = 0
    byte_count: int = 0
    expires_at: datetime | None = None
    """The time at which the file is deleted; None unless it is ready."""


def machine(kind: str) -> Machine[Action]:
    """Return the machine of files that jobs of one kind write."""
    return Machine(
        initial=State.NONE,
        transitions=TRANSITIONS,
        # An expired file takes a new generation too: a late retry of its job is superseded.
        new_generation=frozenset({Action.START, Action.EXPIRE}),
        steps={
            kind: Step(
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


def _failure(code: str, message: str) -> Ending[Action]:
    return Ending(Action.FAIL, Error(code=code, message=message))
