"""The events of one owner: in order and without gaps, however they arrive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from chassis import errors
from gateway.stream import connection, feed
from gateway.stream.journal import Cursor, Journal, Page
from gateway.stream.recent import Recent
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_events_pb2, job_pb2

OWNER = "owner"
PAGE = 3


def event(sequence: int) -> job_events_pb2.JobEvent:
    job = job_pb2.Job(job_id="j", version=sequence, state=job_pb2.JOB_STATE_RUNNING)
    return job_events_pb2.JobEvent(owner_id=OWNER, sequence=sequence, job=job)


class Kept:
    """Keeps events in memory; `answers` holds it up, `is_down` makes it fail."""

    def __init__(self, latest: int = 0) -> None:
        self.latest = latest
        self.asked = 0
        self.positions_asked = 0
        self.is_down = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def batch_get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        self.positions_asked += 1
        latest = self.latest
        await self._answer()
        return dict.fromkeys(owner_ids, latest)

    async def list_events(self, cursors: Sequence[Cursor]) -> Sequence[Page | errors.Error]:
        self.asked += 1
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
    """Takes the place of a stream."""

    def __init__(self) -> None:
        self.frames: list[connection.Frame] = []
        self.restarts: list[tuple[str, int]] = []

    @property
    def sequences(self) -> list[int]:
        return [frame.sequence for frame in self.frames if frame.sequence]

    def tell(self, frame: connection.Frame) -> None:
        self.frames.append(frame)

    def restart(self, reason: str, sequence: int) -> None:
        self.restarts.append((reason, sequence))


@pytest.fixture
async def journal() -> Kept:
    return Kept()


@pytest.fixture
async def reader() -> Reader:
    return Reader()


@pytest.fixture
async def owner(journal: Kept, reader: Reader) -> feed.Feed:
    owner = feed.Feed(OWNER, Journal(journal), Recent())
    owner.connections.add(reader)  # type: ignore[arg-type]
    return owner


def hear(owner: feed.Feed, journal: Kept, *sequences: int) -> None:
    for sequence in sequences:
        journal.latest = max(journal.latest, sequence)
        owner.hear_event(event(sequence))


async def test_events_in_order_need_no_question(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    await owner.prime()
    hear(owner, journal, 1, 2, 2, 1, 3)
    assert reader.sequences == [1, 2, 3]
    assert journal.asked == 0


async def test_a_gap_is_filled_by_one_run(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    await owner.prime()
    journal.answers.clear()
    hear(owner, journal, 1, 4, 6, 5, 9)
    assert reader.sequences == [1]
    journal.answers.set()
    await owner.catch_up()
    assert reader.sequences == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert journal.asked == 3


async def test_what_comes_during_priming_is_not_lost(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    journal.latest = 5
    journal.answers.clear()
    priming = asyncio.create_task(owner.prime())
    while not journal.positions_asked:
        await asyncio.sleep(0)
    hear(owner, journal, 6, 7)
    journal.answers.set()
    assert await priming == 5
    await owner.catch_up()
    assert reader.sequences == [6, 7]


async def test_any_order_of_arrival_is_told_in_order(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    await owner.prime()
    arrivals = [sequence for sequence in range(1, 200) if random.random() < 0.8] * 2
    random.shuffle(arrivals)
    for sequence in arrivals:
        hear(owner, journal, sequence)
        await asyncio.sleep(0)
    await owner.catch_up()
    assert reader.sequences == list(range(1, max(arrivals) + 1))


async def test_an_outage_loses_nothing(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    await owner.prime()
    journal.is_down = True
    hear(owner, journal, 2)
    with pytest.raises(errors.Unavailable):
        await owner.catch_up()
    journal.is_down = False
    await owner.catch_up()
    assert reader.sequences == [1, 2]


async def test_another_history_is_told(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    journal.latest = 5
    await owner.prime()
    journal.latest = 3
    await owner.catch_up()
    assert reader.restarts == [("cursor_unknown", 3)]
    hear(owner, journal, 4)
    assert reader.sequences == [4]


async def test_memory_is_a_ring(owner: feed.Feed, journal: Kept) -> None:
    await owner.prime()
    hear(owner, journal, *range(1, feed.RING + 11))
    assert not owner.remembers(9)
    assert owner.remembers(10)
    assert owner.remembers(feed.RING + 10)
    assert not owner.remembers(feed.RING + 11)
    assert [frame.sequence for frame in owner.since(feed.RING + 8)] == [feed.RING + 9, feed.RING + 10]


async def test_progress_is_news_only_once(owner: feed.Feed, journal: Kept, reader: Reader) -> None:
    await owner.prime()
    hear(owner, journal, 1)
    for version in (3, 2, 3, 1):
        owner.hear_progress(job_pb2.Job(job_id="j", version=version, state=job_pb2.JOB_STATE_RUNNING))
    assert [(frame.sequence, frame.version) for frame in reader.frames] == [(1, 1), (0, 3)]


async def test_demo_mode_never_goes_back(owner: feed.Feed, reader: Reader) -> None:
    for version in (2, 1, 2, 3):
        owner.hear_demo(demo_pb2.Demo(version=version, state=demo_pb2.DEMO_STATE_ENABLED))
    assert [frame.version for frame in reader.frames] == [2, 3]


def strange(journal: Kept, *heard: int, limit: int = 100) -> feed.Feed:
    """A feed that begins after these events were heard."""
    known = Recent(limit)
    for sequence in heard:
        known.note(event(sequence))
    journal.latest = max(heard)
    return feed.Feed(OWNER, Journal(journal), known)


async def test_a_feed_begins_with_what_was_heard_before_it(journal: Kept) -> None:
    owner = strange(journal, 4, 2, 6, 5, 5, 7)
    assert await owner.prime() == 7
    # 3 was never heard, so nothing before 4 is of use.
    assert (owner.remembers(3), owner.remembers(2)) == (True, False)
    assert [frame.sequence for frame in owner.since(4)] == [5, 6, 7]
    assert journal.asked == 0


async def test_what_was_heard_is_not_believed_beyond_what_is_written(journal: Kept, reader: Reader) -> None:
    owner = strange(journal, 1, 2, 3, 9)
    owner.connections.add(reader)  # type: ignore[arg-type]
    journal.latest = 2
    # 3 came while the position was asked for; it follows, 9 does not.
    assert await owner.prime() == 3
    assert reader.sequences == [3]


async def test_what_was_heard_is_forgotten_with_its_history_and_when_it_is_too_much(journal: Kept) -> None:
    known = Recent(limit=3)
    for sequence in range(1, 6):
        known.note(event(sequence))
    assert [found.sequence for found in known.up_to(OWNER, 5)] == [3, 4, 5]
    known.forget()
    known.note(event(1))
    assert [found.sequence for found in known.up_to(OWNER, 1)] == [1]
    assert known.up_to("somebody else", 1) == []
