"""What is known of connections to platforms, and when to ask."""

from __future__ import annotations

import asyncio

import pytest

from gateway.stream import platforms
from repruv.auth.v1 import connection_pb2


class Clock:
    now = 1_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


@pytest.fixture
def known(clock: Clock) -> platforms.Platforms:
    return platforms.Platforms()


def connection(version: int, state: connection_pb2.ConnectionState.ValueType) -> connection_pb2.Connection:
    return connection_pb2.Connection(platform="youtube", version=version, state=state)


CONNECTED, CONNECTING = connection_pb2.CONNECTION_STATE_CONNECTED, connection_pb2.CONNECTION_STATE_CONNECTING


def test_the_newest_counts(known: platforms.Platforms) -> None:
    assert known.note(connection(2, CONNECTED))
    assert not known.note(connection(2, CONNECTING))
    assert not known.note(connection(1, CONNECTING))
    assert [shown["status"] for shown in known.snapshots()] == ["connected"]


def test_one_that_was_never_used_is_nothing_to_tell(known: platforms.Platforms) -> None:
    known.note(connection(0, connection_pb2.CONNECTION_STATE_DISCONNECTED))
    assert list(known.snapshots()) == []


def test_what_is_heard_needs_no_question_and_a_silence_does(known: platforms.Platforms, clock: Clock) -> None:
    assert known.wants(hears=True)
    known.confirm()
    known.note(connection(1, CONNECTING))
    assert not known.wants(hears=True)
    clock.now += platforms.ASK_AGAIN_SECONDS
    assert not known.wants(hears=True)
    assert known.wants(hears=False)
    assert not known.wants(hears=False)
    clock.now += platforms.ASK_AGAIN_SECONDS
    assert known.wants(hears=False)
    known.note(connection(2, CONNECTED))
    clock.now += platforms.ASK_AGAIN_SECONDS
    assert not known.wants(hears=False)
    known.distrust()
    assert known.wants(hears=True)
