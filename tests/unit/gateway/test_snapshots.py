"""When the snapshots of an owner and source need a refresh."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.stream import snapshots
from gateway.stream.sources.connections import Connections
from gateway.stream.sources.demo import Demo
from gateway.stream.sources.jobs import Jobs
from repruv.auth.v1 import connection_pb2
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_pb2
from tests.unit.gateway.clock import Clock

UNUSED: Any = None
CONNECTED, CONNECTING = connection_pb2.CONNECTION_STATE_CONNECTED, connection_pb2.CONNECTION_STATE_CONNECTING


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshots, "_now", lambda: clock.now)
    return clock


@pytest.fixture
def jobs(clock: Clock) -> snapshots.SourceSnapshots[job_pb2.Job]:
    return snapshots.SourceSnapshots(Jobs(UNUSED))


@pytest.fixture
def demo(jobs: snapshots.SourceSnapshots[job_pb2.Job]) -> snapshots.SourceSnapshots[demo_pb2.Demo]:
    """Demo mode that job 1 enables."""
    demo = snapshots.SourceSnapshots(Demo(UNUSED), jobs)
    demo.note(demo_pb2.Demo(version=1, state=demo_pb2.DEMO_STATE_ENABLING, job_id="1"))
    demo.confirm()
    return demo


@pytest.fixture
def connections(jobs: snapshots.SourceSnapshots[job_pb2.Job]) -> snapshots.SourceSnapshots[connection_pb2.Connection]:
    return snapshots.SourceSnapshots(Connections(UNUSED), jobs)


def job(state: job_pb2.JobState.ValueType, version: int, job_id: str = "1") -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, version=version, state=state)


def connection(version: int, state: connection_pb2.ConnectionState.ValueType) -> connection_pb2.Connection:
    return connection_pb2.Connection(platform="youtube", version=version, state=state)


def move(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], jobs: snapshots.SourceSnapshots[job_pb2.Job], moved: job_pb2.Job
) -> None:
    jobs.note(moved)
    demo.expect_change(moved)


def test_a_matching_transition_needs_no_refresh(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], jobs: snapshots.SourceSnapshots[job_pb2.Job], clock: Clock
) -> None:
    move(demo, jobs, job(job_pb2.JOB_STATE_RUNNING, 1))
    clock.now += 10.0
    assert not demo.needs_refresh(is_live=True)


def test_a_job_that_ended_without_its_resource_needs_a_refresh(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], jobs: snapshots.SourceSnapshots[job_pb2.Job], clock: Clock
) -> None:
    move(demo, jobs, job(job_pb2.JOB_STATE_COMPLETED, 1))
    assert not demo.needs_refresh(is_live=True)
    clock.now += snapshots.SETTLE_SECONDS
    assert demo.needs_refresh(is_live=True)
    assert not demo.needs_refresh(is_live=True)
    demo.note(demo_pb2.Demo(version=2, state=demo_pb2.DEMO_STATE_ENABLED, job_id="1"))
    clock.now += 10.0
    assert not demo.needs_refresh(is_live=True)


def test_a_job_newer_than_that_of_the_resource_needs_a_refresh(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], jobs: snapshots.SourceSnapshots[job_pb2.Job], clock: Clock
) -> None:
    move(demo, jobs, job(job_pb2.JOB_STATE_PENDING, 1, job_id="2"))
    clock.now += snapshots.SETTLE_SECONDS
    assert demo.needs_refresh(is_live=True)


def test_a_failed_job_that_is_retried_needs_a_refresh(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], jobs: snapshots.SourceSnapshots[job_pb2.Job], clock: Clock
) -> None:
    demo.note(demo_pb2.Demo(version=2, state=demo_pb2.DEMO_STATE_FAILED, job_id="1"))
    move(demo, jobs, job(job_pb2.JOB_STATE_PENDING, 5))
    clock.now += snapshots.SETTLE_SECONDS
    assert demo.needs_refresh(is_live=True)


def test_without_nats_a_contradiction_needs_a_refresh_at_once(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], jobs: snapshots.SourceSnapshots[job_pb2.Job], clock: Clock
) -> None:
    move(demo, jobs, job(job_pb2.JOB_STATE_COMPLETED, 1))
    assert demo.needs_refresh(is_live=False)
    assert not demo.needs_refresh(is_live=False)


def test_invalid_snapshots_are_refreshed_until_confirmed(
    demo: snapshots.SourceSnapshots[demo_pb2.Demo], clock: Clock
) -> None:
    demo.invalidate()
    assert demo.needs_refresh(is_live=True)
    clock.now += demo.source.refresh_seconds
    assert demo.needs_refresh(is_live=True)
    demo.confirm()
    clock.now += demo.source.refresh_seconds
    assert not demo.needs_refresh(is_live=True)


def test_refreshes_are_bounded(demo: snapshots.SourceSnapshots[demo_pb2.Demo], clock: Clock) -> None:
    demo.invalidate()
    refreshes = 0
    for clock.now in range(1_000, 1_100):
        refreshes += demo.needs_refresh(is_live=True)
    assert refreshes == snapshots.MAX_REFRESHES


def test_snapshots_are_bounded(jobs: snapshots.SourceSnapshots[job_pb2.Job]) -> None:
    for number in range(2 * snapshots.MAX_SNAPSHOTS):
        jobs.note(job(job_pb2.JOB_STATE_RUNNING, 1, job_id=str(number)))
    assert jobs.is_in_progress
    assert len(jobs.latest) == snapshots.MAX_SNAPSHOTS
    assert jobs.note(job(job_pb2.JOB_STATE_RUNNING, 1, job_id="0"))
    assert not jobs.note(job(job_pb2.JOB_STATE_RUNNING, 1, job_id=str(2 * snapshots.MAX_SNAPSHOTS - 1)))


def test_only_newer_snapshots_are_kept(connections: snapshots.SourceSnapshots[connection_pb2.Connection]) -> None:
    assert connections.note(connection(2, CONNECTED))
    assert not connections.note(connection(2, CONNECTING))
    assert not connections.note(connection(1, CONNECTING))
    assert [snapshot.state for snapshot in connections.latest] == [CONNECTED]


def test_a_connection_that_was_never_used_has_no_frame() -> None:
    source = Connections(UNUSED)
    assert source.frame(connection(0, connection_pb2.CONNECTION_STATE_DISCONNECTED), None) is None
    frame = source.frame(connection(1, CONNECTED), None)
    assert frame is not None
    assert (frame.event, frame.version, frame.key) == ("connection", 1, "connection youtube")


def test_resources_without_job_kinds_are_polled_while_they_move_without_nats(
    connections: snapshots.SourceSnapshots[connection_pb2.Connection], clock: Clock
) -> None:
    connections.invalidate()
    assert not connections.is_fresh
    assert connections.needs_refresh(is_live=True)
    connections.confirm()
    assert connections.is_fresh
    connections.note(connection(1, CONNECTING))
    assert not connections.needs_refresh(is_live=True)
    clock.now += connections.source.refresh_seconds
    assert not connections.needs_refresh(is_live=True)
    assert connections.needs_refresh(is_live=False)
    assert not connections.needs_refresh(is_live=False)
    clock.now += connections.source.refresh_seconds
    assert connections.needs_refresh(is_live=False)
    connections.note(connection(2, CONNECTED))
    clock.now += connections.source.refresh_seconds
    assert not connections.needs_refresh(is_live=False)
    connections.invalidate()
    assert connections.needs_refresh(is_live=True)
