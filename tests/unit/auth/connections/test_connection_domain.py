"""The rules of connections, each state with each action."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from lifecycle.machine import FINISHED, AttemptStart, Error, Fence, JobPhase, JobUpdate
from services.auth.connections import domain
from services.auth.connections.domain import MACHINE, Action, Connection, ErrorCode, JobKind, State, Tokens

MOVING = Connection(
    user_id=uuid4(),
    platform="p",
    state=State.CONNECTING,
    generation=3,
    version=7,
    attempt=2,
    job_id=uuid4(),
    job_kind=JobKind.CONNECT,
    job_version=5,
)
DISCONNECTING = replace(MOVING, state=State.DISCONNECTING, job_kind=JobKind.DISCONNECT)


def fence(connection: Connection, **changed: object) -> Fence:
    assert connection.job_id
    fence_ = Fence(
        key=connection.key,
        job_id=connection.job_id,
        generation=connection.generation,
        attempt=connection.attempt,
    )
    return replace(fence_, **changed)  # type: ignore[arg-type]


def update_of(connection: Connection, phase: JobPhase, **changed: object) -> JobUpdate:
    assert connection.job_id
    assert connection.job_kind
    update = JobUpdate(
        key=connection.key,
        job_id=connection.job_id,
        kind=connection.job_kind,
        generation=connection.generation,
        phase=phase,
        attempt=connection.attempt,
        version=connection.job_version + 1,
    )
    return replace(update, **changed)  # type: ignore[arg-type]


def settle(connection: Connection, update: JobUpdate) -> tuple[Action, Error | None] | None:
    """The action and the error of an update."""
    ending = MACHINE.settle(connection, update)
    return (ending.action, ending.error) if ending else None


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        ({}, AttemptStart.WORK),
        ({"attempt": 9}, AttemptStart.WORK),
        ({"attempt": 1}, AttemptStart.SUPERSEDED),
        ({"generation": 2}, AttemptStart.SUPERSEDED),
        ({"generation": 4}, AttemptStart.SUPERSEDED),
        ({"job_id": uuid4()}, AttemptStart.SUPERSEDED),
    ],
)
def test_an_attempt_works_only_with_the_newest_fence(changed: dict[str, object], start: AttemptStart) -> None:
    assert MACHINE.decide_start(MOVING, fence(MOVING, **changed), JobKind.CONNECT) is start
    assert MACHINE.decide_start(MOVING, fence(MOVING, **changed), JobKind.DISCONNECT) is AttemptStart.SUPERSEDED


@pytest.mark.parametrize("state", State)
def test_connect_job_works_only_in_connecting(state: State) -> None:
    expected = {State.CONNECTING: AttemptStart.WORK, State.CONNECTED: AttemptStart.DONE}
    present = replace(MOVING, state=state)
    assert MACHINE.decide_start(present, fence(MOVING), JobKind.CONNECT) is expected.get(state, AttemptStart.SUPERSEDED)


@pytest.mark.parametrize(
    "changed", [{"version": 5}, {"version": 1}, {"attempt": 1}, {"generation": 2}, {"job_id": uuid4()}]
)
def test_old_and_foreign_updates_have_no_effect(changed: dict[str, object]) -> None:
    assert settle(MOVING, update_of(MOVING, JobPhase.FAILED, **changed)) is None


@pytest.mark.parametrize("phase", JobPhase)
@pytest.mark.parametrize("state", [State.DISCONNECTED, State.FAILED, State.CONNECTED])
def test_ended_connections_move_only_if_the_end_of_their_job_was_not_reported(state: State, phase: JobPhase) -> None:
    present = replace(MOVING, state=state)
    unreported = {
        (State.CONNECTED, JobPhase.CANCELLED): (Action.CANCEL_CONNECT, None),
        (State.CONNECTED, JobPhase.FAILED): (Action.FAIL_CONNECT, domain.error(ErrorCode.INTERNAL)),
    }
    assert settle(present, update_of(present, phase)) == unreported.get((state, phase))


def test_only_known_error_codes_of_jobs_are_stored() -> None:
    known_error = settle(
        MOVING, update_of(MOVING, JobPhase.FAILED, error=Error(code="platform_unavailable", message="Theirs."))
    )
    foreign_error = settle(MOVING, update_of(MOVING, JobPhase.FAILED, error=Error(code="<script>", message="Theirs.")))
    assert known_error == (Action.FAIL_CONNECT, domain.error(ErrorCode.PLATFORM_UNAVAILABLE))
    assert foreign_error == (Action.FAIL_CONNECT, domain.error(ErrorCode.INTERNAL))


@pytest.mark.parametrize("phase", FINISHED)
def test_every_end_of_a_disconnect_is_disconnected(phase: JobPhase) -> None:
    assert settle(DISCONNECTING, update_of(DISCONNECTING, phase)) == (Action.FORCE_DISCONNECT, None)


def test_every_error_has_a_message() -> None:
    assert all(domain.error(code).message.endswith(".") for code in ErrorCode)


def test_access_is_renewed_before_it_expires() -> None:
    now = datetime.now(UTC)
    hour = Tokens(access_token="a", lifetime=timedelta(hours=1))
    assert domain.refresh_time(hour, now, is_renewable=True) == now + timedelta(minutes=45)
    assert domain.refresh_time(hour, now, is_renewable=False) == now + timedelta(hours=1)
    unknown = replace(hour, lifetime=None)
    assert domain.refresh_time(unknown, now, is_renewable=True) == now + timedelta(minutes=45)
    assert domain.refresh_time(unknown, now, is_renewable=False) is None


@pytest.mark.parametrize("path", ["/", "/demo", "/demo?tab=1&x=%20#part", "/a//b", "/" + "a" * 499])
def test_return_to_accepts_local_paths(path: str) -> None:
    assert domain.clean_return_to(path) == path
