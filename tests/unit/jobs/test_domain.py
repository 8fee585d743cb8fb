"""Decisions about jobs, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from chassis import errors, ids
from services.jobs import domain, outcomes
from services.jobs.domain import Action, State

ERROR = domain.JobError(code="boom", message="It broke.")


def job(**state: Any) -> domain.Job:
    """Make a running job on its first attempt of three."""
    spec = domain.Spec(kind="test.kind", owner_id=uuid4(), payload={})
    running = domain.Job(
        job_id=ids.uuid7(),
        spec=spec,
        state=State.RUNNING,
        attempt=1,
        max_attempts=3,
        crashes=0,
        errors=0,
        progress=domain.Progress(),
        version=2,
        created_at=datetime.now(UTC),
    )
    return replace(running, **state)


@pytest.mark.parametrize(
    ("outcome", "state", "action"),
    [
        (outcomes.Completed(), {}, Action.COMPLETE),
        (outcomes.Completed(), {"state": State.CANCELLING, "cancel_reason": "r"}, Action.COMPLETE),
        (outcomes.Failed(error=ERROR, retryable=True), {}, Action.RETRY_LATER),
        (outcomes.Failed(error=ERROR, retryable=True), {"attempt": 3}, Action.FAIL),
        (outcomes.Failed(error=ERROR, retryable=False), {}, Action.FAIL),
        (outcomes.Failed(error=ERROR, retryable=True), {"state": State.CANCELLING, "cancel_reason": "r"}, Action.FAIL),
        (outcomes.Cancelled(reason="superseded"), {}, Action.CANCEL),
        (outcomes.Released(), {}, Action.RETRY_LATER),
        (outcomes.Released(), {"state": State.CANCELLING, "cancel_reason": "r"}, Action.CANCEL),
        (outcomes.Crashed(), {}, Action.RETRY_LATER),
        (outcomes.Crashed(), {"crashes": outcomes.CRASH_LIMIT - 1}, Action.FAIL),
        (outcomes.Crashed(), {"state": State.CANCELLING, "cancel_reason": "r"}, Action.CANCEL),
    ],
)
def test_each_outcome_has_one_consequence(outcome: outcomes.Outcome, state: dict[str, Any], action: Action) -> None:
    before = job(**state)
    decision = outcomes.decide(before, outcome, jitter=0.5)
    assert decision.action is action
    assert before.state in domain.TRANSITIONS[action][0]
    assert (decision.error is not None) == (decision.action is Action.FAIL or isinstance(outcome, outcomes.Failed))
    assert (decision.cancel_reason is not None) == (decision.action is Action.CANCEL)


@pytest.mark.parametrize("outcome", [outcomes.Crashed(), outcomes.Released()])
def test_attempts_that_end_without_the_handlers_fault_are_not_counted(outcome: outcomes.Outcome) -> None:
    before = job(attempt=3)
    decision = outcomes.decide(before, outcome, jitter=0.5)
    assert decision.max_attempts - before.attempt == 1


@pytest.mark.parametrize("outcome", [outcomes.Snoozed(delay=timedelta(days=1)), outcomes.Waiting()])
def test_planned_pause_makes_the_budgets_full_again(outcome: outcomes.Outcome) -> None:
    before = job(attempt=7, max_attempts=7, errors=2, crashes=4)
    decision = outcomes.decide(before, outcome, jitter=0.5)
    assert (decision.errors, decision.crashes) == (0, 0)
    # The next attempt is the first of three.
    assert decision.max_attempts == before.attempt + before.spec.max_attempts


@pytest.mark.parametrize(("seconds", "action"), [(-601, Action.FAIL), (601, Action.RETRY_LATER)])
def test_deadline_goes_by_the_clock_of_the_database(seconds: int, action: Action) -> None:
    # The deadline is a time of the database, whose clock may be ten minutes ahead or behind.
    skewed = job(deadline=datetime.now(UTC) - timedelta(seconds=seconds), time_left=timedelta(seconds=seconds))
    assert outcomes.decide(skewed, outcomes.Released(), jitter=0.5).action is action


def test_only_a_retry_leaves_a_terminal_state() -> None:
    for action, (sources, _) in domain.TRANSITIONS.items():
        assert not (sources & domain.FINISHED) or action is Action.RETRY


def test_backoff_doubles_up_to_its_cap_and_is_jittered() -> None:
    spec = domain.Spec(
        kind="k", owner_id=uuid4(), payload={}, backoff=timedelta(seconds=1), max_backoff=timedelta(seconds=10)
    )
    ceilings = [outcomes.backoff(spec, count, jitter=1.0).total_seconds() for count in (1, 2, 3, 4, 5, 1_000)]
    assert ceilings == [1, 2, 4, 8, 10, 10]
    assert outcomes.backoff(spec, 3, jitter=0.25) == timedelta(seconds=1)
    assert outcomes.backoff(spec, 3, jitter=0.0) == timedelta()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", ""),
        ("kind", "Upper.Case"),
        ("kind", "k" * 101),
        ("priority", 101),
        ("priority", -101),
        ("max_attempts", 0),
        ("max_attempts", 101),
        ("backoff", timedelta()),
        ("backoff", timedelta(hours=2)),
        ("max_backoff", timedelta(milliseconds=1)),
        ("max_backoff", timedelta(hours=25)),
        ("attempt_timeout", timedelta()),
        ("attempt_timeout", timedelta(hours=25)),
        ("unique_key", "k" * 201),
        ("unique_key", "a\x00b"),
    ],
)
def test_bounds_name_the_field(field: str, value: object) -> None:
    values: dict[str, Any] = {"kind": "k", "owner_id": uuid4(), "payload": {}, field: value}
    with pytest.raises(errors.InvalidArgument) as excinfo:
        domain.Spec(**values).validate()
    assert excinfo.value.field == field
    assert field in excinfo.value.message
