"""One open stream: what waits in it, what may be left out, and how it ends."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from chassis import errors
from gateway.identity import sessions
from gateway.stream import connection, frames
from gateway.stream.connection import Connection, Frame
from repruv.auth.v1 import auth_pb2, auth_service_pb2


class Auth:
    """Knows every session until it is told otherwise."""

    is_revoked = False

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        if self.is_revoked:
            raise errors.Unauthenticated(code="session_invalid")
        answer = auth_service_pb2.ValidateSessionResponse(user=auth_pb2.User(user_id="user"))
        answer.identity_expire_time.FromSeconds(int(time.time()) + 100)
        return answer


@pytest.fixture
async def auth() -> Auth:
    return Auth()


async def opened(auth: Auth, *, job_id: str = "", is_live: bool = True) -> Connection:
    validator = sessions.Sessions(auth, is_live=lambda: is_live)
    return Connection(await validator.validate("a" * 40), validator, job_id=job_id)


def progress(version: int, job_id: str = "j") -> Frame:
    return Frame(event="job", data=f"p{version} ".encode(), version=version, job_id=job_id)


def transition(sequence: int, *, version: int = 0, job_id: str = "j", final: bool = False) -> Frame:
    data = f"t{sequence} ".encode()
    return Frame(event="job", data=data, version=version, sequence=sequence, job_id=job_id, is_final=final)


class Line:
    """The socket: takes what is written unless it is full."""

    def __init__(self) -> None:
        self.is_full = False
        self.written = b""
        self.gone = asyncio.Event()
        self.was_aborted = False
        self.wrote = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert not self.is_full
        self.written += data
        self.wrote.set()

    def end(self) -> None:
        self.gone.set()

    def abort(self) -> None:
        self.was_aborted = True
        self.gone.set()


def started(stream: Connection) -> Line:
    line = Line()
    stream.start(line)
    return line


async def sent(stream: Connection) -> bytes:
    """Everything up to the end of the stream, without the times to come back at."""
    line = started(stream)
    async with asyncio.timeout(10):
        await line.gone.wait()
    stream.lost()
    return re.sub(rb"retry: \d+\n", b"", line.written)


def bye(reason: str) -> bytes:
    return frames.encode("bye", {"reason": reason})


async def test_the_newest_progress_counts(auth: Auth) -> None:
    stream = await opened(auth)
    for frame in (progress(2), progress(4), progress(3), progress(1, "k")):
        stream.tell(frame)
    stream.close("draining")
    assert await sent(stream) == b"p4 p1 " + bye("draining")


async def test_every_transition_is_told_and_outdates_progress(auth: Auth) -> None:
    stream = await opened(auth)
    for frame in (progress(2), transition(1, version=3), transition(2, version=4), progress(5)):
        stream.tell(frame)
    stream.close("draining")
    assert await sent(stream) == b"t1 t2 p5 " + bye("draining")


async def test_a_reader_too_slow_is_sent_back_to_the_start(auth: Auth) -> None:
    stream = await opened(auth)
    for sequence in range(1, connection.MAX_TRANSITIONS + 10):
        stream.tell(transition(sequence, job_id=str(sequence)))
    last = connection.MAX_TRANSITIONS + 1
    assert await sent(stream) == frames.encode("reset", {"reason": "too_slow"}, sequence=last) + bye("too_slow")


async def test_progress_without_end_is_bounded(auth: Auth) -> None:
    stream = await opened(auth)
    for number in range(connection.MAX_PROGRESS * 2):
        stream.tell(progress(1, job_id=str(number)))
    stream.tell(Frame(event="demo", data=b"demo ", version=1))
    stream.close("draining")
    told = await sent(stream)
    assert told.count(b"p1 ") == connection.MAX_PROGRESS
    assert b"demo " in told


async def test_the_stream_of_a_job_tells_of_that_job_until_its_end(auth: Auth) -> None:
    stream = await opened(auth, job_id="j")
    stream.tell(transition(1, job_id="k", final=True))
    stream.tell(Frame(event="demo", data=b"demo ", version=1))
    stream.tell(transition(2, final=True))
    stream.tell(transition(3))
    assert await sent(stream) == b"t2 "


async def test_a_stream_does_not_outlive_its_age(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_AGE_SECONDS", 0.01)
    assert await sent(await opened(auth)) == bye("max_age")


async def test_a_silent_stream_pings(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    stream = await opened(auth)
    stream.opening = b"hello "
    line = started(stream)
    for _ in range(2):
        line.wrote.clear()
        await line.wrote.wait()
    stream.lost()
    assert line.written.startswith(b"hello " + frames.PING * 2)


async def test_a_ping_asks_for_the_session_while_revocations_are_not_heard(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    stream = await opened(auth, is_live=False)
    auth.is_revoked = True
    assert await sent(stream) == bye("session_expired")


async def test_a_ping_asks_nobody_while_revocations_are_heard(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    monkeypatch.setattr(sessions, "TTL_SECONDS", 0.0)
    stream = await opened(auth)
    line = started(stream)
    auth.is_revoked = True
    for _ in range(3):
        line.wrote.clear()
        await line.wrote.wait()
    assert line.written == frames.PING * 3
    stream.lost()


@pytest.mark.parametrize(("is_refreshed", "reason"), [(False, "session_expired"), (True, "refreshed")])
async def test_no_ping_is_sent_to_a_session_that_ended(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, is_refreshed: bool, reason: str
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    monkeypatch.setattr(sessions, "TTL_SECONDS", 0.0)
    monkeypatch.setattr(connection, "CONFIRM_SECONDS", 60.0 if is_refreshed else 0.0)
    stream = await opened(auth)
    if is_refreshed:
        stream.refresh()
    auth.is_revoked = True
    assert await sent(stream) == bye(reason)


async def test_a_session_in_doubt_is_asked_for(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RECHECK_SECONDS", 0.01)
    stream = await opened(auth, is_live=False)
    auth.is_revoked = True
    stream.recheck()
    assert await sent(stream) == bye("session_expired")


async def test_who_reads_is_told_at_once(auth: Auth) -> None:
    stream = await opened(auth)
    line = started(stream)
    stream.tell(progress(1))
    assert line.written == b"p1 "
    stream.tell(transition(1, version=2))
    assert line.written == b"p1 t1 "
    stream.lost()


async def test_who_is_slow_is_told_the_newest_of_each_job_and_every_end(auth: Auth) -> None:
    stream = await opened(auth)
    line = started(stream)
    line.is_full = True
    stream.full()
    for version in range(1, 50):
        stream.tell(progress(version, "j"))
        stream.tell(progress(version, "k"))
    stream.tell(transition(1, version=50, job_id="k", final=True))
    assert line.written == b""
    line.is_full = False
    stream.free()
    assert line.written == b"p49 t1 "
    stream.lost()


async def test_a_reader_who_stalls_is_dropped(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_TIMEOUT", 0.01)
    stream = await opened(auth)
    line = started(stream)
    line.is_full = True
    stream.full()
    async with asyncio.timeout(10):
        await line.gone.wait()
    assert line.was_aborted
    stream.lost()
    assert stream.close_reason == connection.STALLED


async def test_a_goodbye_that_nobody_takes_is_not_waited_for(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_TIMEOUT", 0.01)
    stream = await opened(auth)
    line = started(stream)
    line.is_full = True
    stream.close("draining")
    async with asyncio.timeout(10):
        await line.gone.wait()
    assert (line.was_aborted, line.written) == (True, b"")
    stream.lost()
    assert stream.close_reason == "draining"


async def test_a_client_who_leaves_ends_the_stream_once(auth: Auth) -> None:
    stream = await opened(auth)
    ended: list[bool] = []
    stream.on_end = lambda: ended.append(True)
    started(stream)
    stream.lost()
    stream.lost()
    stream.tell(progress(1))
    assert ended == [True]
    assert stream.close_reason == connection.DISCONNECTED
