"""Batched reads of last sequences and events, and how the failure of a call affects its callers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis import errors
from gateway.stream import event_reader


class JobsService:
    """Records its calls, and answers them once `answers` is set."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.read: list[list[event_reader.Cursor]] = []
        self.room = 1_000
        self.failure: BaseException | None = None
        self.answers = asyncio.Event()
        self.latest = 1

    async def batch_get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        self.calls.append(list(owner_ids))
        latest = self.latest
        await self.answers.wait()
        if self.failure:
            raise self.failure
        return dict.fromkeys(owner_ids, latest)

    async def list_events(self, cursors: Sequence[event_reader.Cursor]) -> Sequence[event_reader.Page | errors.Error]:
        """Answer the first `room` cursors."""
        self.read.append(list(cursors))
        return [
            errors.OutOfRange() if after > self.latest else event_reader.Page(latest_sequence=after)
            for _, after in cursors[: self.room]
        ]


@pytest.fixture
async def service() -> JobsService:
    return JobsService()


async def called(service: JobsService, times: int) -> None:
    async with asyncio.timeout(60):
        while len(service.calls) < times:
            await asyncio.sleep(0)


async def test_concurrent_reads_share_a_call(service: JobsService) -> None:
    reader = event_reader.EventReader(service)
    first = asyncio.create_task(reader.last_sequence("a"))
    await called(service, 1)
    rest = [asyncio.create_task(reader.last_sequence(owner)) for owner in ("b", "c", "c", "a")]
    await asyncio.sleep(0)
    service.latest = 2
    service.answers.set()
    # Reads that began during a call get what was true after it.
    assert (await first, await asyncio.gather(*rest)) == (1, [2, 2, 2, 2])
    assert service.calls == [["a"], ["b", "c", "a"]]


@pytest.mark.slow
async def test_call_is_bounded(service: JobsService) -> None:
    reader = event_reader.EventReader(service)
    service.answers.set()
    owners = [str(number) for number in range(event_reader.OWNERS_PER_CALL + 1)]
    await asyncio.gather(*(reader.last_sequence(owner) for owner in owners))
    assert await reader.last_sequences(owners) == dict.fromkeys(owners, 1)
    assert sum(map(len, service.calls)) == 2 * len(owners)
    assert max(map(len, service.calls)) == event_reader.OWNERS_PER_CALL


async def test_a_failure_reaches_the_callers_of_that_call_only(service: JobsService) -> None:
    reader = event_reader.EventReader(service)
    service.failure = errors.Unavailable()
    service.answers.set()
    answers = await asyncio.gather(*(reader.last_sequence(owner) for owner in "abc"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [errors.Unavailable] * 3
    service.failure = None
    assert await reader.last_sequence("a") == 1


async def test_a_cancelled_read_does_not_cancel_others(service: JobsService) -> None:
    reader = event_reader.EventReader(service)
    cancelled, waiting = (asyncio.create_task(reader.last_sequence(owner)) for owner in "ab")
    await called(service, 1)
    cancelled.cancel()
    await asyncio.sleep(0)
    service.answers.set()
    assert await waiting == 1


async def test_events_are_read_in_as_many_calls_as_their_answers_need(service: JobsService) -> None:
    service.latest, service.room = 100, 40
    reader = event_reader.EventReader(service)
    pages = await asyncio.gather(*(reader.events("a", after=number) for number in range(100)))
    # Each read has its own answer, although all are of the same owner.
    assert [page.latest_sequence for page in pages] == list(range(100))
    assert [len(cursors) for cursors in service.read] == [100, 60, 20]


async def test_a_lost_cursor_fails_its_own_read_only(service: JobsService) -> None:
    reader = event_reader.EventReader(service)
    lost, page = await asyncio.gather(reader.events("a", after=2), reader.events("b", after=1), return_exceptions=True)
    assert isinstance(lost, errors.OutOfRange)
    assert isinstance(page, event_reader.Page)


async def test_a_stuck_call_does_not_delay_others(service: JobsService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "MAX_WAIT_SECONDS", 0.01)
    reader = event_reader.EventReader(service)
    stuck = asyncio.create_task(reader.last_sequence("a"))
    await called(service, 1)
    following = asyncio.create_task(reader.last_sequence("b"))
    await called(service, 2)
    service.answers.set()
    assert (await stuck, await following) == (1, 1)
