"""The states of demo mode, their transitions, and what its jobs do to them. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from chassis import errors
from lifecycle import machine
from lifecycle.machine import Ending, Error, Step


class State(StrEnum):
    """The state of an owner's demo mode. Its rows are visible only while it is `enabled`."""

    DISABLED = "disabled"
    """There is no demo data. EnableDemo ends this state, and so does a retry of the enable job that was cancelled.
    Nothing runs here: rows that a crash left behind are invisible, and the reconciler deletes them."""
    ENABLING = "enabling"
    """A job writes the rows. Its last write changes the state to enabled. If the job fails, the state becomes failed; if it is
    cancelled, disabled. After a crash of the worker the next attempt continues at the counters. After a crash of this
    service before the submit of the job the outbox submits it. After the loss of a job event a read or the sweep asks the
    jobs service."""
    ENABLED = "enabled"
    """The rows are complete and visible. DisableDemo and the expiry end this state. So does a job that ends without success
    because its worker could not report the last write: the state becomes disabled if it was cancelled, failed if it failed."""
    DISABLING = "disabling"
    """A job deletes the rows. Its last delete changes the state to disabled. If the job fails or is cancelled, the state
    becomes failed. After a crash of the worker the next attempt continues at the counters."""
    FAILED = "failed"
    """The last job ended without success; `error` says why. EnableDemo and DismissDemo end this state, and a retry of the
    job returns to the transition that failed. Nothing runs here; the rows are kept for that retry, invisible."""


class JobKind(StrEnum):
    ENABLE = "demo.enable"
    DISABLE = "demo.disable"


class Action(StrEnum):
    """What can happen to demo mode. The value is the reason in its event."""

    ENABLE = "enable_accepted"
    DISABLE = "disable_accepted"
    DISMISS = "dismissed"
    COMPLETE_ENABLE = "enabled"
    COMPLETE_DISABLE = "disabled"
    CANCEL_ENABLE = "enable_cancelled"
    FAIL = "job_failed"
    RESUME_ENABLE = "enable_resumed"
    RESUME_DISABLE = "disable_resumed"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    # By the owner. Each takes a new generation, so that writes of the job before it are refused.
    Action.ENABLE: (frozenset({State.DISABLED, State.FAILED}), State.ENABLING),
    Action.DISABLE: (frozenset({State.ENABLED}), State.DISABLING),
    Action.DISMISS: (frozenset({State.FAILED}), State.DISABLED),
    # By the job's handler, in the transaction of its last rows.
    Action.COMPLETE_ENABLE: (frozenset({State.ENABLING}), State.ENABLED),
    Action.COMPLETE_DISABLE: (frozenset({State.DISABLING}), State.DISABLED),
    # By the handler, or by the first update of an ended job. A cancelled disable fails instead: what
    # it has removed is gone, and half of the data must not be shown.
    # Also in `enabled`, if the worker could not report the last write. A disable is not undone: its rows are gone.
    Action.CANCEL_ENABLE: (frozenset({State.ENABLING, State.ENABLED}), State.DISABLED),
    Action.FAIL: (frozenset({State.ENABLING, State.ENABLED, State.DISABLING}), State.FAILED),
    # By the handler of a later attempt, or by the first update of a retried job.
    Action.RESUME_ENABLE: (frozenset({State.FAILED, State.DISABLED}), State.ENABLING),
    Action.RESUME_DISABLE: (frozenset({State.FAILED}), State.DISABLING),
}
"""Action -> (from these states, to that state). Guarded updates take their states from here; the CHECK
`demo_modes_transition_known` and the README's diagram must say the same."""

CANCELLED = Error(code="cancelled", message="Removing the sample data was cancelled. What is left of it is not shown.")
_INCOMPLETE = Ending(
    Action.FAIL,
    Error(code="demo_incomplete", message="The job ended, but the sample data is not complete. Retry to finish it."),
)
_UNEXPLAINED = Ending(Action.FAIL, Error(code="job_failed", message="Something went wrong on our side. Retry the job."))
_REJECTED = Ending(Action.FAIL, Error(code="job_rejected", message="The job could not be started."))

MACHINE = machine.Machine(
    initial=State.DISABLED,
    transitions=TRANSITIONS,
    new_generation=frozenset({Action.ENABLE, Action.DISABLE, Action.DISMISS}),
    steps={
        JobKind.ENABLE: Step(
            working=State.ENABLING,
            done=State.ENABLED,
            failed=_UNEXPLAINED,
            cancelled=Ending(Action.CANCEL_ENABLE),
            completed=_INCOMPLETE,
            rejected=_REJECTED,
            resume=Action.RESUME_ENABLE,
        ),
        JobKind.DISABLE: Step(
            working=State.DISABLING,
            done=State.DISABLED,
            failed=_UNEXPLAINED,
            cancelled=Ending(Action.FAIL, CANCELLED),
            completed=_INCOMPLETE,
            rejected=_REJECTED,
            resume=Action.RESUME_DISABLE,
        ),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The options of EnableDemo, resolved: equal options give equal rows."""

    profile_type: str
    niche: str
    content_count: int
    interaction_count: int
    seed: int
    expire_after: timedelta | None = None
    """The time after enabling at which it is disabled automatically; None: never. The rows do not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode(machine.Resource):
    owner_id: UUID
    state: State = State.DISABLED
    job_kind: JobKind | None = None
    options: DemoOptions | None = None
    seeded_at: datetime | None = None
    """The time at which the options were accepted. The demo data ends then, whenever an attempt writes it."""
    content_written: int = 0
    interactions_written: int = 0
    content_removed: int = 0
    interactions_removed: int = 0
    enabled_at: datetime | None = None
    expires_at: datetime | None = None
    """The time at which it is disabled automatically; None unless it is enabled and `expire_after` is set."""

    @property
    def key(self) -> machine.Key:
        return (self.owner_id,)


def keeps_rows(mode: Mode, generation: int) -> bool:
    """Return whether rows of a generation are to be kept: shown, being written or removed, or waiting for a retry."""
    if mode.job_kind is JobKind.ENABLE:
        return generation == mode.generation and mode.state in {State.ENABLING, State.ENABLED, State.FAILED}
    # A disable removes rows of an older generation, and counts all of them.
    return mode.job_kind is JobKind.DISABLE and mode.state in {State.DISABLING, State.FAILED}


_REFUSALS: Mapping[tuple[Action, State], tuple[str, str]] = {
    (Action.ENABLE, State.ENABLED): ("demo_already_enabled", "Demo mode is already enabled."),
    (Action.ENABLE, State.ENABLING): ("demo_enabling", "Demo mode is already being enabled."),
    (Action.ENABLE, State.DISABLING): ("demo_disabling", "Demo mode is being disabled. Enable it when that is done."),
    (Action.DISABLE, State.DISABLED): ("demo_already_disabled", "Demo mode is already disabled."),
    (Action.DISABLE, State.ENABLING): (
        "demo_enabling",
        "Demo mode is being enabled. Cancel that, or wait until it has finished.",
    ),
    (Action.DISABLE, State.DISABLING): ("demo_disabling", "Demo mode is already being disabled."),
    (Action.DISABLE, State.FAILED): ("demo_failed", "Retry or dismiss the failed job first."),
}


class StateChanged(Exception):
    """The state permits the refused action: it has changed since the refusal."""


def refusal(action: Action, state: State) -> errors.FailedPrecondition:
    """Return the error for an owner whose demo mode does not permit `action` in `state`. Raises `StateChanged` if it does."""
    if action is Action.DISMISS:
        return errors.FailedPrecondition("Only a failed demo mode can be dismissed.", code="demo_not_failed")
    if (action, state) not in _REFUSALS:
        raise StateChanged
    code, message = _REFUSALS[action, state]
    return errors.FailedPrecondition(message, code=code)
