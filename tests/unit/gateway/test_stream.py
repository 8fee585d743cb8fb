"""One open stream: what it queues, what it drops, and how it ends."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from chassis import errors
from gateway.identity import sessions
from gateway.stream import frames
from gateway.stream import stream as streams
from gateway.stream.frames import Frame
from gateway.stream.stream import Stream
from repruv.auth.v1 import auth_pb2, auth_service_pb2


class Auth:
    """Accepts every session until `is_revoked`."""

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


async def opened(auth: Auth, *, job_id: str = "", is_live: bool = True) -> Stream:
    validator = sessions.Sessions(auth, is_live=lambda: is_live)
    return Stream(await validator.validate("a" * 40), validator, job_id=job_id)


def progress(version: int, job_id: str = "j") -> Frame:
    return Frame(event="job", data=f"p{version} ".encode(), version=version, job_id=job_id)


def transition(sequence: int, *, version: int = 0, job_id: str = "j", final: bool = False) -> Frame:
    data = f"t{sequence} ".encode()
    return Frame(event="job", data=data, version=version, sequence=sequence, job_id=job_id, is_final=final)


class Sink:
    """A socket that accepts data unless it is full."""

    def __init__(self) -> None:
        self.is_full = False
        self.written = b""
        self.closed_event = asyncio.Event()
        self.was_aborted = False
        self.wrote = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert not self.is_full
        self.written += data
        self.wrote.set()

    def end(self) -> None:
        self.closed_event.set()

    def abort(self) -> None:
        self.was_aborted = True
        self.closed_event.set()


def started(stream: Stream) -> Sink:
    sink = Sink()
    stream.start(sink)
    return sink


async def sent(stream: Stream) -> bytes:
    """Return everything up to the end of the stream, without the `retry` lines."""
    sink = started(stream)
    async with asyncio.timeout(60):
        await sink.closed_event.wait()
    stream.disconnected()
    return re.sub(rb"retry: \d+\n", b"", sink.written)


def bye(reason: str) -> bytes:
    return frames.encode("bye", {"reason": reason})


async def test_newer_progress_replaces_older(auth: Auth) -> None:
    stream = await opened(auth)
    for frame in (progress(2), progress(4), progress(3), progress(1, "k")):
        stream.send(frame)
    stream.close("draining")
    assert await sent(stream) == b"p4 p1 " + bye("draining")


async def test_every_transition_is_sent_and_replaces_progress(auth: Auth) -> None:
    stream = await opened(auth)
    for frame in (progress(2), transition(1, version=3), transition(2, version=4), progress(5)):
        stream.send(frame)
    stream.close("draining")
    assert await sent(stream) == b"t1 t2 p5 " + bye("draining")


async def test_a_reader_too_slow_is_reset(auth: Auth) -> None:
    stream = await opened(auth)
    for sequence in range(1, streams.MAX_TRANSITIONS + 10):
        stream.send(transition(sequence, job_id=str(sequence)))
    last = streams.MAX_TRANSITIONS + 1
    assert await sent(stream) == frames.encode("reset", {"reason": "too_slow"}, sequence=last) + bye("too_slow")


async def test_queue_of_large_frames_is_bounded(auth: Auth) -> None:
    stream = await opened(auth)
    large = b"x" * (streams.MAX_QUEUED_BYTES // 4)
    for version in range(1, 20):
        stream.send(Frame(event="job", data=large, version=version, job_id="replaced"))
    for sequence in range(1, 6):
        stream.send(Frame(event="job", data=large, version=sequence, sequence=sequence, job_id=str(sequence)))
    assert (await sent(stream)).startswith(frames.encode("reset", {"reason": "too_slow"}, sequence=4))


@pytest.mark.parametrize("sequence", [0, 3])
async def test_reset_of_a_slow_reader_names_the_last_transition(auth: Auth, sequence: int) -> None:
    stream = await opened(auth)
    stream.last_sequence = 40
    large = b"x" * (streams.MAX_QUEUED_BYTES // 4)
    for number in range(41, 41 + sequence):
        stream.send(Frame(event="job", data=large, version=1, sequence=number, job_id=str(number)))
    for number in range(5 - sequence):
        stream.send(Frame(event="export", data=large, version=1, resource_key=str(number)))
    expected = frames.encode("reset", {"reason": "too_slow"}, sequence=40 + sequence)
    assert (await sent(stream)).startswith(expected)


async def test_queued_progress_is_bounded(auth: Auth) -> None:
    stream = await opened(auth)
    for number in range(streams.MAX_PROGRESS * 2):
        stream.send(progress(1, job_id=str(number)))
    stream.send(Frame(event="demo", data=b"demo ", version=1))
    stream.close("draining")
    sent_bytes = await sent(stream)
    assert sent_bytes.count(b"p1 ") == streams.MAX_PROGRESS
    assert b"demo " in sent_bytes


async def test_the_stream_of_a_job_has_only_that_job_and_ends_with_it(auth: Auth) -> None:
    stream = await opened(auth, job_id="j")
    stream.send(transition(1, job_id="k", final=True))
    stream.send(Frame(event="demo", data=b"demo ", version=1))
    stream.send(transition(2, final=True))
    stream.send(transition(3))
    assert await sent(stream) == b"t2 "


async def test_a_stream_ends_at_its_maximum_age(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_AGE_SECONDS", 0.01)
    assert await sent(await opened(auth)) == bye("max_age")


async def test_an_idle_stream_pings(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_SECONDS", 0.01)
    stream = await opened(auth)
    stream.opening = b"hello "
    sink = started(stream)
    for _ in range(2):
        sink.wrote.clear()
        await sink.wrote.wait()
    stream.disconnected()
    assert sink.written.startswith(b"hello " + frames.PING * 2)


async def test_a_ping_checks_the_session_while_nats_is_away(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_SECONDS", 0.01)
    stream = await opened(auth, is_live=False)
    auth.is_revoked = True
    assert await sent(stream) == bye("session_expired")


async def test_a_ping_checks_nothing_while_nats_is_live(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_SECONDS", 0.01)
    monkeypatch.setattr(sessions, "PASSIVE_TTL_SECONDS", 0.0)
    stream = await opened(auth)
    sink = started(stream)
    auth.is_revoked = True
    for _ in range(3):
        sink.wrote.clear()
        await sink.wrote.wait()
    assert sink.written == frames.PING * 3
    stream.disconnected()


@pytest.mark.parametrize(("is_refreshed", "reason"), [(False, "session_expired"), (True, "refreshed")])
async def test_no_ping_is_sent_to_a_session_that_ended(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, is_refreshed: bool, reason: str
) -> None:
    monkeypatch.setattr(streams, "PING_SECONDS", 0.01)
    monkeypatch.setattr(sessions, "PASSIVE_TTL_SECONDS", 0.0)
    monkeypatch.setattr(streams, "CONFIRM_SECONDS", 60.0 if is_refreshed else 0.0)
    stream = await opened(auth)
    if is_refreshed:
        stream.on_session_refreshed()
    auth.is_revoked = True
    assert await sent(stream) == bye(reason)


async def test_recheck_ends_the_stream_of_a_revoked_session(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECHECK_SECONDS", 0.01)
    stream = await opened(auth, is_live=False)
    auth.is_revoked = True
    stream.recheck()
    assert await sent(stream) == bye("session_expired")


async def test_frames_are_written_at_once(auth: Auth) -> None:
    stream = await opened(auth)
    sink = started(stream)
    stream.send(progress(1))
    assert sink.written == b"p1 "
    stream.send(transition(1, version=2))
    assert sink.written == b"p1 t1 "
    stream.disconnected()


async def test_a_slow_reader_gets_the_newest_progress_and_every_transition(auth: Auth) -> None:
    stream = await opened(auth)
    sink = started(stream)
    sink.is_full = True
    stream.pause()
    for version in range(1, 50):
        stream.send(progress(version, "j"))
        stream.send(progress(version, "k"))
    stream.send(transition(1, version=50, job_id="k", final=True))
    assert sink.written == b""
    sink.is_full = False
    stream.resume()
    assert sink.written == b"p49 t1 "
    stream.disconnected()


async def test_a_stalled_reader_is_dropped(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT", 0.01)
    stream = await opened(auth)
    sink = started(stream)
    sink.is_full = True
    stream.pause()
    async with asyncio.timeout(60):
        await sink.closed_event.wait()
    assert sink.was_aborted
    stream.disconnected()
    assert stream.close_reason == streams.STALLED


async def test_a_closing_stream_does_not_wait_for_a_stalled_reader(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT", 0.01)
    stream = await opened(auth)
    sink = started(stream)
    sink.is_full = True
    stream.close("draining")
    async with asyncio.timeout(60):
        await sink.closed_event.wait()
    assert (sink.was_aborted, sink.written) == (True, b"")
    stream.disconnected()
    assert stream.close_reason == "draining"


async def test_a_client_that_disconnects_ends_the_stream_once(auth: Auth) -> None:
    stream = await opened(auth)
    ended: list[bool] = []
    stream.on_end = lambda: ended.append(True)
    started(stream)
    stream.disconnected()
    stream.disconnected()
    stream.send(progress(1))
    assert ended == [True]
    assert stream.close_reason == streams.DISCONNECTED
