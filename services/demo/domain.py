"""What demo mode is and how it may change. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from chassis import errors


class State(StrEnum):
    """Where an owner's demo mode stands. Rows are visible in `enabled` only."""

    DISABLED = "disabled"
    """There is no demo data. EnableDemo moves it out, and so does a retry of the enable job that was cancelled.
    Nothing runs here: rows that a crash left behind are invisible, and the janitor deletes them."""
    ENABLING = "enabling"
    """A job writes the rows; its last write moves it to enabled, its end without success to failed or disabled.
    A crash of the worker costs nothing: the next attempt goes on at the counters. A crash of this service before the
    job was submitted: the outbox submits it. A lost job event: a read or the reconciler asks the jobs service."""
    ENABLED = "enabled"
    """The rows are complete and visible. DisableDemo moves it out. Nothing runs here."""
    DISABLING = "disabling"
    """A job deletes the rows; its last delete moves it to disabled, its end without success to failed.
    Crashes mean what they mean in enabling: the next attempt deletes and counts on."""
    FAILED = "failed"
    """The last job ended without success; `error` says why. EnableDemo and DismissDemo move it out, and a retry of the
    job goes back to the transition it failed in. Nothing runs here; its rows are kept for that retry, invisible."""


TRANSITIONAL = frozenset({State.ENABLING, State.DISABLING})
"""States that a job moves out."""


class JobKind(StrEnum):
    """The jobs of demo mode."""

    ENABLE = "demo.enable"
    DISABLE = "demo.disable"


class Action(StrEnum):
    """What can happen to demo mode. The value is the reason its event gives."""

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
    # By the owner. Each takes a new generation, so that whatever the job before it still does is refused.
    Action.ENABLE: (frozenset({State.DISABLED, State.FAILED}), State.ENABLING),
    Action.DISABLE: (frozenset({State.ENABLED}), State.DISABLING),
    Action.DISMISS: (frozenset({State.FAILED}), State.DISABLED),
    # By the job's handler, in the transaction of its last rows.
    Action.COMPLETE_ENABLE: (frozenset({State.ENABLING}), State.ENABLED),
    Action.COMPLETE_DISABLE: (frozenset({State.DISABLING}), State.DISABLED),
    # By the handler, or by whoever learns first that the job has ended. A cancelled disable fails instead: what it has
    # removed is gone, and half of the data must not be shown.
    Action.CANCEL_ENABLE: (frozenset({State.ENABLING}), State.DISABLED),
    Action.FAIL: (frozenset({State.ENABLING, State.DISABLING}), State.FAILED),
    # By the handler of a later attempt, or by whoever learns first that the job was retried.
    Action.RESUME_ENABLE: (frozenset({State.FAILED, State.DISABLED}), State.ENABLING),
    Action.RESUME_DISABLE: (frozenset({State.FAILED}), State.DISABLING),
}
"""Action -> (from these states, to that state). The storage's guarded updates take their states from here; the CHECK
`demo_modes_transition_known` and the README say the same."""

RESUME: Mapping[JobKind, Action] = {
    JobKind.ENABLE: Action.RESUME_ENABLE,
    JobKind.DISABLE: Action.RESUME_DISABLE,
}


TARGETS: Mapping[JobKind, tuple[State, State]] = {
    JobKind.ENABLE: (State.ENABLING, State.ENABLED),
    JobKind.DISABLE: (State.DISABLING, State.DISABLED),
}
"""The state in which the job of a kind works, and the one it leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Why demo mode failed: a stable code, and a sentence for the user."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What EnableDemo asks for, resolved: the same wish always gives the same rows."""

    profile_type: str
    niche: str
    content_count: int
    interaction_count: int
    seed: int
    expire_after: timedelta | None = None
    """How long after it was enabled it is disabled by itself; None: never. The rows do not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """An owner's demo mode as it stands."""

    owner_id: UUID
    state: State = State.DISABLED
    generation: int = 0
    version: int = 0
    attempt: int = 0
    """The highest attempt of the job that began or is known to have ended: what a lower one still writes is refused."""
    job_id: UUID | None = None
    job_kind: JobKind | None = None
    job_version: int = 0
    """The newest snapshot of the job that was taken into account; older ones, which come late, are not."""
    wish: Wish | None = None
    seeded_at: datetime | None = None
    """When the wish was accepted: the demo data ends then, whenever an attempt writes it."""
    content_written: int = 0
    interactions_written: int = 0
    content_removed: int = 0
    interactions_removed: int = 0
    error: Error | None = None
    enabled_at: datetime | None = None
    expires_at: datetime | None = None
    """When it is disabled by itself; None unless it is enabled and that was asked for."""
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What a handler's write must match: one attempt of the job of one generation."""

    owner_id: UUID
    job_id: UUID
    generation: int
    attempt: int


class Beginning(StrEnum):
    """What an attempt that begins has to do."""

    WORK = "work"
    RESUME = "resume"
    """Move the state back into the transition first: the job was retried after it had ended."""
    DONE = "done"
    """Nothing: an earlier attempt moved the state, and died before it could say so."""
    SUPERSEDED = "superseded"
    """Nothing, for ever: the job is not of the present generation, or a later attempt has begun."""


def begin(mode: Mode, fence: Fence, kind: JobKind) -> Beginning:
    """Say what an attempt of a job finds when it begins."""
    if (mode.job_id, mode.generation, mode.job_kind) != (fence.job_id, fence.generation, kind):
        return Beginning.SUPERSEDED
    working, done = TARGETS[kind]
    if mode.state is done:
        return Beginning.DONE
    if mode.state is working:
        return Beginning.WORK if fence.attempt >= mode.attempt else Beginning.SUPERSEDED
    # An attempt that has ended, or was judged to have, does not begin again; a retry has a higher number.
    if mode.state in TRANSITIONS[RESUME[kind]][0] and fence.attempt > mode.attempt:
        return Beginning.RESUME
    return Beginning.SUPERSEDED


class JobPhase(StrEnum):
    """What a job's state means to demo mode."""

    WAITING = "waiting"
    HELD = "held"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNews:
    """What a snapshot of a job says, from an event or from an answer of the jobs service."""

    job_id: UUID
    owner_id: UUID
    generation: int
    phase: JobPhase
    attempt: int
    version: int
    error: Error | None = None


CANCELLED = Error(code="cancelled", message="Removing the demo data was cancelled; what is left of it is not shown.")
WITHOUT_EFFECT = Error(code="demo_incomplete", message="The job ended, but the demo data is not complete.")
UNEXPLAINED = Error(code="job_failed", message="The job failed without saying why.")


FIRST_VERSION = 1
"""The version of a job's first snapshot, which says that it was submitted."""


def concerns(mode: Mode, news: JobNews) -> bool:
    """Whether the news is about the job of the present generation, and newer than what is known of it."""
    is_current = mode.job_id == news.job_id and mode.generation == news.generation
    return is_current and news.version > mode.job_version and news.attempt >= mode.attempt


def matters(mode: Mode, news: JobNews) -> bool:
    """Whether news of a job has an effect, or has to be remembered so that older news has none when it comes later.

    The first snapshot has nothing before it. Before one of an attempt that has begun here come others of that attempt, which
    say no more, and those of lower attempts, which do not count any more.
    """
    if not concerns(mode, news):
        return False
    says_no_more = news.phase in {JobPhase.HELD, JobPhase.COMPLETED} and news.attempt == mode.attempt > 0
    return settle(mode, news) is not None or not (news.version == FIRST_VERSION or says_no_more)


def settle(mode: Mode, news: JobNews) -> tuple[Action, Error | None] | None:
    """Say what news of a job does to demo mode: an action, with the error that FAIL keeps; None for nothing.

    News may come late, twice and in any order; it counts only if it `concerns` the mode.
    """
    if not concerns(mode, news) or mode.job_kind is None:
        return None
    match news.phase:
        case JobPhase.WAITING:
            return _resume(mode)
        case JobPhase.HELD:
            # A held attempt that is known here has begun, and may already have moved the state on by itself.
            return _resume(mode) if news.attempt > mode.attempt else None
        case _ if mode.state not in TRANSITIONAL:
            return None
        case JobPhase.COMPLETED:
            # The handler moves the state before its job completes, so this takes a loss of committed writes.
            return Action.FAIL, WITHOUT_EFFECT
        case JobPhase.FAILED:
            return Action.FAIL, news.error or UNEXPLAINED
        case JobPhase.CANCELLED:
            return cancel(mode.state)


def cancel(state: State) -> tuple[Action, Error | None]:
    """Say what a cancelled job does to the state it was moving."""
    return (Action.CANCEL_ENABLE, None) if state is State.ENABLING else (Action.FAIL, CANCELLED)


def justifies(mode: Mode, generation: int) -> bool:
    """Whether rows of a generation have a reason to be there: they are shown, being made or removed, or wait for a retry."""
    if mode.job_kind is JobKind.ENABLE:
        return generation == mode.generation and mode.state in {State.ENABLING, State.ENABLED, State.FAILED}
    # What a disable removes was written by an older generation, and all of it is to be counted.
    return mode.job_kind is JobKind.DISABLE and mode.state in {State.DISABLING, State.FAILED}


def _resume(mode: Mode) -> tuple[Action, None] | None:
    if mode.job_kind is None:
        return None
    action = RESUME[mode.job_kind]
    return (action, None) if mode.state in TRANSITIONS[action][0] else None


_REFUSALS: Mapping[tuple[Action, State], tuple[str, str]] = {
    (Action.ENABLE, State.ENABLED): ("demo_already_enabled", "Demo mode is already enabled."),
    (Action.ENABLE, State.ENABLING): ("demo_enabling", "Demo mode is already being enabled."),
    (Action.ENABLE, State.DISABLING): ("demo_disabling", "Demo mode is being disabled; enable it when that is done."),
    (Action.DISABLE, State.DISABLED): ("demo_already_disabled", "Demo mode is already disabled."),
    (Action.DISABLE, State.ENABLING): (
        "demo_enabling",
        "Demo mode is being enabled; cancel that, or wait for its end.",
    ),
    (Action.DISABLE, State.DISABLING): ("demo_disabling", "Demo mode is already being disabled."),
    (Action.DISABLE, State.FAILED): ("demo_failed", "Demo mode has failed; dismiss that, or retry the job."),
}


def refusal(action: Action, state: State) -> errors.FailedPrecondition:
    """Give the error that says why the owner cannot have `action` in `state`."""
    if action is Action.DISMISS:
        return errors.FailedPrecondition("Only a failed demo mode can be dismissed.", code="demo_not_failed")
    code, message = _REFUSALS[action, state]
    return errors.FailedPrecondition(message, code=code)
