"""The state machine of demo mode: every state with every action, every start of an attempt, every job update."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from uuid import uuid4

import pytest

from chassis import errors
from lifecycle.machine import AttemptStart, Error, Fence, JobPhase, JobUpdate
from services.demo import domain
from services.demo.domain import MACHINE, Action, JobKind, State

OWNER, JOB = uuid4(), uuid4()

# Written out once more by hand: state -> what each action that is legal there leads to.
LEGAL = {
    State.DISABLED: {Action.ENABLE: State.ENABLING, Action.RESUME_ENABLE: State.ENABLING},
    State.ENABLING: {
        Action.COMPLETE_ENABLE: State.ENABLED,
        Action.CANCEL_ENABLE: State.DISABLED,
        Action.FAIL: State.FAILED,
    },
    State.ENABLED: {
        Action.DISABLE: State.DISABLING,
        Action.CANCEL_ENABLE: State.DISABLED,
        Action.FAIL: State.FAILED,
    },
    State.DISABLING: {Action.COMPLETE_DISABLE: State.DISABLED, Action.FAIL: State.FAILED},
    State.FAILED: {
        Action.ENABLE: State.ENABLING,
        Action.DISMISS: State.DISABLED,
        Action.RESUME_ENABLE: State.ENABLING,
        Action.RESUME_DISABLE: State.DISABLING,
    },
}


def mode_in(state: State, kind: JobKind | None = None, **arguments: object) -> domain.Mode:
    """Return a demo mode in a state, set by attempt 2 of a job whose snapshot 7 was applied."""
    if kind is None:
        kind = JobKind.DISABLE if state is State.DISABLING else JobKind.ENABLE
    mode = domain.Mode(
        owner_id=OWNER, state=state, generation=4, attempt=2, job_id=JOB, job_kind=kind, job_version=7, version=9
    )
    return replace(mode, **arguments)  # type: ignore[arg-type]


def update_of(phase: JobPhase, **arguments: object) -> JobUpdate:
    """An update of that job, newer than the one that was applied."""
    update = JobUpdate(job_id=JOB, key=(OWNER,), kind="demo.enable", generation=4, phase=phase, attempt=2, version=8)
    return replace(update, **arguments)  # type: ignore[arg-type]


def settle(mode: domain.Mode, update: JobUpdate) -> tuple[Action, Error | None] | None:
    """The action and the error of an update."""
    ending = MACHINE.settle(mode, update)
    return (ending.action, ending.error) if ending else None


@pytest.mark.parametrize(("state", "action"), list(itertools.product(State, Action)))
def test_every_action_in_every_state(state: State, action: Action) -> None:
    sources, target = domain.TRANSITIONS[action]
    assert (target if state in sources else None) == LEGAL[state].get(action)


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (action, state)
        for action in (Action.ENABLE, Action.DISABLE, Action.DISMISS)
        for state in State
        if state not in domain.TRANSITIONS[action][0]
    ],
)
def test_every_refusal_has_a_stable_code(action: Action, state: State) -> None:
    error = domain.refusal(action, state)
    assert isinstance(error, errors.FailedPrecondition)
    assert re.fullmatch(r"demo_[a-z_]+", error.code)


@pytest.mark.parametrize(
    ("mode", "attempt", "expected"),
    [
        (mode_in(State.ENABLING), 2, AttemptStart.WORK),
        (mode_in(State.ENABLING), 3, AttemptStart.WORK),
        (mode_in(State.ENABLING), 1, AttemptStart.SUPERSEDED),
        (mode_in(State.ENABLED), 3, AttemptStart.DONE),
        (mode_in(State.FAILED), 3, AttemptStart.RESUME),
        (mode_in(State.FAILED), 2, AttemptStart.SUPERSEDED),
        (mode_in(State.DISABLED), 3, AttemptStart.RESUME),
        (mode_in(State.DISABLED), 2, AttemptStart.SUPERSEDED),
    ],
)
def test_enable_begins(mode: domain.Mode, attempt: int, expected: AttemptStart) -> None:
    fence = Fence(key=(OWNER,), job_id=JOB, generation=4, attempt=attempt)
    assert MACHINE.decide_start(mode, fence, JobKind.ENABLE) is expected


@pytest.mark.parametrize(
    ("state", "attempt", "expected"),
    [
        (State.DISABLING, 2, AttemptStart.WORK),
        (State.DISABLING, 1, AttemptStart.SUPERSEDED),
        (State.DISABLED, 2, AttemptStart.DONE),
        (State.FAILED, 3, AttemptStart.RESUME),
        (State.FAILED, 2, AttemptStart.SUPERSEDED),
    ],
)
def test_disable_begins(state: State, attempt: int, expected: AttemptStart) -> None:
    fence = Fence(key=(OWNER,), job_id=JOB, generation=4, attempt=attempt)
    assert MACHINE.decide_start(mode_in(state, JobKind.DISABLE), fence, JobKind.DISABLE) is expected


@pytest.mark.parametrize("other", [{"job_id": uuid4()}, {"generation": 3}, {"generation": 5}])
@pytest.mark.parametrize("state", State)
def test_a_job_of_another_generation_is_superseded_in_every_state(state: State, other: dict[str, object]) -> None:
    fence = replace(Fence(key=(OWNER,), job_id=JOB, generation=4, attempt=9), **other)  # type: ignore[arg-type]
    for kind in JobKind:
        assert MACHINE.decide_start(mode_in(state, kind), fence, kind) is AttemptStart.SUPERSEDED


ERROR = Error(code="broken", message="It broke.")
EFFECTS = {
    (State.ENABLING, JobPhase.FAILED): (Action.FAIL, ERROR),
    (State.ENABLING, JobPhase.CANCELLED): (Action.CANCEL_ENABLE, None),
    (State.ENABLING, JobPhase.COMPLETED): (Action.FAIL, domain._INCOMPLETE.error),
    (State.ENABLED, JobPhase.FAILED): (Action.FAIL, ERROR),
    (State.ENABLED, JobPhase.CANCELLED): (Action.CANCEL_ENABLE, None),
    (State.DISABLING, JobPhase.FAILED): (Action.FAIL, ERROR),
    (State.DISABLING, JobPhase.CANCELLED): (Action.FAIL, domain.CANCELLED),
    (State.DISABLING, JobPhase.COMPLETED): (Action.FAIL, domain._INCOMPLETE.error),
    (State.FAILED, JobPhase.UNCLAIMED): (Action.RESUME_ENABLE, None),
    (State.DISABLED, JobPhase.UNCLAIMED): (Action.RESUME_ENABLE, None),
}


@pytest.mark.parametrize(("state", "phase"), list(itertools.product(State, JobPhase)))
def test_every_update_in_every_state(state: State, phase: JobPhase) -> None:
    assert settle(mode_in(state), update_of(phase, error=ERROR)) == EFFECTS.get((state, phase))


@pytest.mark.parametrize(
    "stale", [{"version": 7}, {"version": 3}, {"attempt": 1}, {"generation": 3}, {"job_id": uuid4()}]
)
@pytest.mark.parametrize(("state", "phase"), list(itertools.product(State, JobPhase)))
def test_late_and_foreign_updates_change_nothing(state: State, phase: JobPhase, stale: dict[str, object]) -> None:
    assert settle(mode_in(state), update_of(phase, **stale)) is None


def test_later_running_attempt_resumes_a_failed_transition() -> None:
    running = update_of(JobPhase.HELD, attempt=3)
    assert settle(mode_in(State.FAILED), running) == (Action.RESUME_ENABLE, None)
    assert settle(mode_in(State.FAILED, JobKind.DISABLE), running) == (Action.RESUME_DISABLE, None)
    assert settle(mode_in(State.ENABLED), running) is None


@pytest.mark.parametrize("phase", JobPhase)
def test_completed_disable_stays_disabled_however_its_job_ends(phase: JobPhase) -> None:
    assert settle(mode_in(State.DISABLED, JobKind.DISABLE), update_of(phase, error=ERROR)) is None


def test_every_effect_is_a_legal_transition() -> None:
    for (state, _), (action, error) in EFFECTS.items():
        assert state in domain.TRANSITIONS[action][0]
        assert (error is not None) == (domain.TRANSITIONS[action][1] is State.FAILED)


@pytest.mark.parametrize(
    ("mode", "present", "older"),
    [
        (mode_in(State.ENABLING), True, False),
        (mode_in(State.ENABLED), True, False),
        (mode_in(State.FAILED), True, False),
        (mode_in(State.DISABLED), False, False),
        (mode_in(State.DISABLING), True, True),
        (mode_in(State.FAILED, JobKind.DISABLE), True, True),
        (mode_in(State.DISABLED, JobKind.DISABLE), False, False),
        (domain.Mode(owner_id=OWNER), False, False),
    ],
)
def test_rows_kept_by_state(mode: domain.Mode, present: bool, older: bool) -> None:
    assert domain.keeps_rows(mode, 4) is present
    assert domain.keeps_rows(mode, 3) is older
