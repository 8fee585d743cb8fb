"""Positions of many owners in one call, and what a call that fails means for those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis import errors
from gateway.stream import journal
from repruv.jobs.v1 import jobs_service_pb2


class Kept:
    """Answers when it is let, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.reading = self.most_at_once = 0
        self.failure: BaseException | None = None
        self.answers = asyncio.Event()
        self.latest = 1

    async def get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        self.calls.append(list(owner_ids))
        latest = self.latest
        await self.answers.wait()
        if self.failure:
            raise self.failure
        return dict.fromkeys(owner_ids, latest)

    async def list_job_events(self, owner_id: str, *, after: int) -> jobs_service_pb2.ListJobEventsResponse:
        self.reading += 1
        self.most_at_once = max(self.most_at_once, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        return jobs_service_pb2.ListJobEventsResponse()


@pytest.fixture
async def kept() -> Kept:
    return Kept()


async def called(kept: Kept, times: int) -> None:
    async with asyncio.timeout(10):
        while len(kept.calls) < times:
            await asyncio.sleep(0)


async def test_a_crowd_asks_together(kept: Kept) -> None:
    asked = journal.Journal(kept)
    first = asyncio.create_task(asked.position("a"))
    await called(kept, 1)
    rest = [asyncio.create_task(asked.position(owner)) for owner in ("b", "c", "c", "a")]
    await asyncio.sleep(0)
    kept.latest = 2
    kept.answers.set()
    # Who asked while a call was under way is told what was so after that.
    assert (await first, await asyncio.gather(*rest)) == (1, [2, 2, 2, 2])
    assert kept.calls == [["a"], ["b", "c", "a"]]


async def test_a_call_is_bounded(kept: Kept) -> None:
    asked = journal.Journal(kept)
    kept.answers.set()
    owners = [str(number) for number in range(journal.OWNERS_PER_CALL + 1)]
    await asyncio.gather(*(asked.position(owner) for owner in owners))
    assert await asked.positions(owners) == dict.fromkeys(owners, 1)
    assert sum(map(len, kept.calls)) == 2 * len(owners)
    assert max(map(len, kept.calls)) == journal.OWNERS_PER_CALL


async def test_a_failure_is_told_to_all_who_waited_and_to_nobody_else(kept: Kept) -> None:
    asked = journal.Journal(kept)
    kept.failure = errors.Unavailable()
    kept.answers.set()
    found = await asyncio.gather(*(asked.position(owner) for owner in "abc"), return_exceptions=True)
    assert [type(answer) for answer in found] == [errors.Unavailable] * 3
    kept.failure = None
    assert await asked.position("a") == 1


async def test_who_gives_up_holds_up_nobody(kept: Kept) -> None:
    asked = journal.Journal(kept)
    impatient, patient = (asyncio.create_task(asked.position(owner)) for owner in "ab")
    await called(kept, 1)
    impatient.cancel()
    await asyncio.sleep(0)
    kept.answers.set()
    assert await patient == 1


async def test_few_read_at_a_time(kept: Kept) -> None:
    asked = journal.Journal(kept)
    await asyncio.gather(*(asked.events(str(number), after=0) for number in range(100)))
    assert kept.most_at_once == journal.READS_AT_ONCE
