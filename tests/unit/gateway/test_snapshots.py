"""When demo mode has to be asked for, since its transition was not heard."""

from __future__ import annotations

import pytest

from gateway.stream import snapshots
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_pb2


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshots, "_now", lambda: clock.now)
    return clock


@pytest.fixture
def known(clock: Clock) -> snapshots.Snapshots:
    known = snapshots.Snapshots()
    known.note_demo(demo_pb2.Demo(version=1, state=demo_pb2.DEMO_STATE_ENABLING, job_id="1"))
    known.confirm_demo()
    return known


def job(state: job_pb2.JobState.ValueType, version: int, job_id: str = "1", kind: str = "demo.enable") -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, version=version, state=state, spec=job_pb2.JobSpec(kind=kind))


def test_what_fits_is_not_asked_for(known: snapshots.Snapshots, clock: Clock) -> None:
    known.note_transition(job(job_pb2.JOB_STATE_RUNNING, 1))
    clock.now = 10.0
    assert not known.wants_demo()


def test_a_job_that_ended_alone_is_suspicious(known: snapshots.Snapshots, clock: Clock) -> None:
    known.note_transition(job(job_pb2.JOB_STATE_COMPLETED, 1))
    assert not known.wants_demo()
    clock.now = snapshots.SETTLE_SECONDS
    assert known.wants_demo()
    assert not known.wants_demo()
    known.note_demo(demo_pb2.Demo(version=2, state=demo_pb2.DEMO_STATE_ENABLED, job_id="1"))
    clock.now = 10.0
    assert not known.wants_demo()


def test_so_is_a_job_that_demo_mode_does_not_know(known: snapshots.Snapshots, clock: Clock) -> None:
    known.note_transition(job(job_pb2.JOB_STATE_PENDING, 1, job_id="2"))
    clock.now = snapshots.SETTLE_SECONDS
    assert known.wants_demo()


def test_and_a_failed_one_that_runs_again(known: snapshots.Snapshots, clock: Clock) -> None:
    known.note_demo(demo_pb2.Demo(version=2, state=demo_pb2.DEMO_STATE_FAILED, job_id="1"))
    known.note_transition(job(job_pb2.JOB_STATE_PENDING, 5))
    clock.now = snapshots.SETTLE_SECONDS
    assert known.wants_demo()


def test_other_jobs_are_none_of_its_business(known: snapshots.Snapshots, clock: Clock) -> None:
    known.note_transition(job(job_pb2.JOB_STATE_COMPLETED, 1, job_id="2", kind="auth.connect"))
    clock.now = 10.0
    assert not known.wants_demo()


def test_after_a_silence_it_is_asked_for_until_somebody_answers(known: snapshots.Snapshots, clock: Clock) -> None:
    known.distrust_demo()
    assert known.wants_demo()
    clock.now = snapshots.ASK_AGAIN_SECONDS
    assert known.wants_demo()
    known.confirm_demo()
    clock.now = 2 * snapshots.ASK_AGAIN_SECONDS
    assert not known.wants_demo()


def test_asking_ends(known: snapshots.Snapshots, clock: Clock) -> None:
    known.distrust_demo()
    asked = 0
    for clock.now in range(100):
        asked += known.wants_demo()
    assert asked == snapshots.MAX_ASKS


def test_the_memory_of_jobs_is_bounded(known: snapshots.Snapshots) -> None:
    for number in range(2 * snapshots.MAX_JOBS):
        known.note_job(job(job_pb2.JOB_STATE_RUNNING, 1, job_id=str(number)))
    assert known.has_running_job
    assert known.note_job(job(job_pb2.JOB_STATE_RUNNING, 1, job_id="0"))
    assert not known.note_job(job(job_pb2.JOB_STATE_RUNNING, 1, job_id=str(2 * snapshots.MAX_JOBS - 1)))
