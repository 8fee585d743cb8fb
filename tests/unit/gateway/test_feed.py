"""The events of one owner: in order and without gaps, in whatever order NATS delivers them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from chassis import errors
from chassis.interest import Interest, Interests
from gateway.stream import frames
from gateway.stream.event_reader import Cursor, EventReader, Page
from gateway.stream.feed import MAX_RING_BYTES, MAX_RING_FRAMES, Feed
from gateway.stream.sources import Sources
from gateway.stream.sources.demo import Demo
from gateway.stream.sources.jobs import Jobs
from gateway.stream.sources.logs import Logs
from gateway.stream.sources.notifications import Notifications
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_events_pb2, job_pb2

OWNER = "owner"
DEMO = Demo(None)  # type: ignore[arg-type]
SOURCES = Sources(Jobs(None), (DEMO,))  # type: ignore[arg-type]
PAGE = 3


def event(sequence: int, message: str = "") -> job_events_pb2.JobEvent:
    job = job_pb2.Job(
        job_id="j",
        version=sequence,
        state=job_pb2.JOB_STATE_FAILED if message else job_pb2.JOB_STATE_RUNNING,
        error=job_pb2.JobError(code="c", message=message) if message else None,
    )
    return job_events_pb2.JobEvent(owner_id=OWNER, sequence=sequence, job=job)


class JobsService:
    """Keeps events in memory; calls wait for `answers`, and fail while `is_down`."""

    def __init__(self, latest: int = 0) -> None:
        self.latest = latest
        self.calls = 0
        self.sequence_reads = 0
        self.is_down = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def batch_get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        self.sequence_reads += 1
        latest = self.latest
        await self._answer()
        return dict.fromkeys(owner_ids, latest)

    async def list_events(self, cursors: Sequence[Cursor]) -> Sequence[Page | errors.Error]:
        self.calls += 1
        latest = self.latest
        await self._answer()
        return [self._page(after, latest) for _, after in cursors]

    def _page(self, after: int, latest: int) -> Page | errors.Error:
        if after > latest:
            return errors.OutOfRange(code="cursor_unknown")
        events = [event(sequence) for sequence in range(after + 1, min(after + PAGE, latest) + 1)]
        return Page(events=events, latest_sequence=latest)

    async def _answer(self) -> None:
        await self.answers.wait()
        if self.is_down:
            raise errors.Unavailable


class Reader:
    """A stream that records its frames."""

    def __init__(self) -> None:
        self.frames: list[frames.Frame] = []
        self.restarts: list[tuple[str, int]] = []

    @property
    def sequences(self) -> list[int]:
        return [frame.sequence for frame in self.frames if frame.sequence]

    def send(self, frame: frames.Frame) -> None:
        self.frames.append(frame)

    def restart(self, reason: str, sequence: int) -> None:
        self.restarts.append((reason, sequence))


@pytest.fixture
async def service() -> JobsService:
    return JobsService()


@pytest.fixture
async def reader() -> Reader:
    return Reader()


@pytest.fixture
async def feed(service: JobsService, reader: Reader) -> Feed:
    feed = Feed(OWNER, EventReader(service), SOURCES, Interests())
    feed.streams.add(reader)  # type: ignore[arg-type]
    return feed


def receive(feed: Feed, service: JobsService, *sequences: int) -> None:
    for sequence in sequences:
        service.latest = max(service.latest, sequence)
        feed.receive_transition(event(sequence))


async def test_events_in_order_cause_no_read(feed: Feed, service: JobsService, reader: Reader) -> None:
    await feed.prime()
    receive(feed, service, 1, 2, 2, 1, 3)
    assert reader.sequences == [1, 2, 3]
    assert service.calls == 0


async def test_one_run_fills_all_gaps(feed: Feed, service: JobsService, reader: Reader) -> None:
    await feed.prime()
    service.answers.clear()
    receive(feed, service, 1, 4, 6, 5, 9)
    assert reader.sequences == [1]
    service.answers.set()
    await feed.catch_up()
    assert reader.sequences == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert service.calls == 3


async def test_events_during_priming_are_sent(feed: Feed, service: JobsService, reader: Reader) -> None:
    service.latest = 5
    service.answers.clear()
    priming = asyncio.create_task(feed.prime())
    while not service.sequence_reads:
        await asyncio.sleep(0)
    receive(feed, service, 6, 7)
    service.answers.set()
    assert await priming == 5
    await feed.catch_up()
    assert reader.sequences == [6, 7]


async def test_shuffled_events_are_sent_in_order(feed: Feed, service: JobsService, reader: Reader) -> None:
    await feed.prime()
    chance = random.Random(1)
    received = [sequence for sequence in range(1, 200) if chance.random() < 0.8] * 2
    chance.shuffle(received)
    for sequence in received:
        receive(feed, service, sequence)
        await asyncio.sleep(0)
    await feed.catch_up()
    assert reader.sequences == list(range(1, max(received) + 1))


async def test_events_missed_during_an_outage_are_sent_after_it(
    feed: Feed, service: JobsService, reader: Reader
) -> None:
    await feed.prime()
    service.is_down = True
    receive(feed, service, 2)
    with pytest.raises(errors.Unavailable):
        await feed.catch_up()
    service.is_down = False
    await feed.catch_up()
    assert reader.sequences == [1, 2]


async def test_a_restored_database_resets_the_streams(feed: Feed, service: JobsService, reader: Reader) -> None:
    service.latest = 5
    await feed.prime()
    service.latest = 3
    await feed.catch_up()
    assert reader.restarts == [("cursor_unknown", 3)]
    receive(feed, service, 4)
    assert reader.sequences == [4]


async def test_the_last_transitions_are_remembered(feed: Feed, service: JobsService) -> None:
    await feed.prime()
    receive(feed, service, *range(1, MAX_RING_FRAMES + 11))
    assert not feed.remembers(9)
    assert feed.remembers(10)
    assert feed.remembers(MAX_RING_FRAMES + 10)
    assert not feed.remembers(MAX_RING_FRAMES + 11)
    assert [frame.sequence for frame in feed.since(MAX_RING_FRAMES + 8)] == [MAX_RING_FRAMES + 9, MAX_RING_FRAMES + 10]


async def test_bytes_of_remembered_transitions_are_bounded(feed: Feed) -> None:
    await feed.prime()
    for sequence in range(1, 11):
        feed.receive_transition(event(sequence, "x" * (MAX_RING_BYTES // 5)))
    assert feed.remembers(6)
    assert not feed.remembers(5)


async def test_only_newer_progress_is_sent(feed: Feed, service: JobsService, reader: Reader) -> None:
    await feed.prime()
    receive(feed, service, 1)
    for version in (3, 2, 3, 1):
        feed.receive(SOURCES.jobs, job_pb2.Job(job_id="j", version=version, state=job_pb2.JOB_STATE_RUNNING))
    assert [(frame.sequence, frame.version) for frame in reader.frames] == [(1, 1), (0, 3)]


async def test_only_newer_demo_mode_is_sent(feed: Feed, reader: Reader) -> None:
    for version in (2, 1, 2, 3):
        feed.receive(DEMO, demo_pb2.Demo(version=version, state=demo_pb2.DEMO_STATE_ENABLED))
    assert [frame.version for frame in reader.frames] == [2, 3]


def new_feed(service: JobsService, latest: int) -> Feed:
    service.latest = latest
    return Feed(OWNER, EventReader(service), SOURCES, Interests())


@pytest.mark.parametrize("latest", [7, 4])
async def test_first_reader_with_a_cursor_costs_one_read(service: JobsService, latest: int) -> None:
    feed = new_feed(service, latest)
    assert await feed.prime(4) == latest
    assert feed.remembers(4)
    assert [frame.sequence for frame in feed.since(4)] == list(range(5, latest + 1))
    assert (service.calls, service.sequence_reads) == (1, 0)


@pytest.mark.parametrize("cursor", [3, 8], ids=["more than a page behind", "of the future"])
async def test_a_cursor_without_a_whole_page_leaves_the_feed_at_the_newest_event(
    service: JobsService, cursor: int
) -> None:
    feed = new_feed(service, 7)
    assert await feed.prime(cursor) == 7
    assert (feed.remembers(7), feed.remembers(6)) == (True, False)
    assert (service.calls, service.sequence_reads) == (1, 1)


async def test_events_during_the_first_read_of_a_cursor_are_sent_once(service: JobsService, reader: Reader) -> None:
    feed = new_feed(service, 5)
    feed.streams.add(reader)  # type: ignore[arg-type]
    service.answers.clear()
    priming = asyncio.create_task(feed.prime(4))
    while not service.calls:
        await asyncio.sleep(0)
    receive(feed, service, 5, 6)
    service.answers.set()
    assert await priming == 5
    await feed.catch_up()
    assert reader.sequences == [6]


async def test_the_position_is_read_once_messages_arrive(service: JobsService, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    async def wait(self: Interest) -> bool:
        order.append(("confirmed", service.sequence_reads))
        return True

    monkeypatch.setattr(Interest, "wait", wait)
    await new_feed(service, 1).prime()
    assert (order, service.sequence_reads) == ([("confirmed", 0)], 1)


def test_one_subscription_takes_all_messages_of_jobs() -> None:
    everything = Sources(Jobs(None), (DEMO, Logs(), Notifications()))  # type: ignore[arg-type]
    assert everything.subjects(OWNER) == [f"jobs.*.{OWNER}", f"demo.events.{OWNER}"]
    assert set(everything.by_subject) == {"jobs.progress", "demo.events", "jobs.logs", "jobs.notifications_read"}


@pytest.mark.parametrize(("kind", "is_fresh"), [("demo.enable", False), ("auth.connect", True)])
async def test_transitions_of_its_job_kinds_put_a_resource_in_doubt(feed: Feed, kind: str, is_fresh: bool) -> None:
    await feed.prime()
    (latest,) = feed.resources
    feed.receive(DEMO, demo_pb2.Demo(version=1, state=demo_pb2.DEMO_STATE_ENABLED, job_id="1"))
    latest.confirm()
    job = job_pb2.Job(job_id="2", version=1, state=job_pb2.JOB_STATE_PENDING, spec=job_pb2.JobSpec(kind=kind))
    feed.receive_transition(job_events_pb2.JobEvent(owner_id=OWNER, sequence=1, job=job))
    assert latest.is_fresh is is_fresh
