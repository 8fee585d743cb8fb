"""Positions of many owners in one call, and what a call that fails means for those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis import errors
from gateway.stream import journal


class Kept:
    """Answers when it is let, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.read: list[list[journal.Cursor]] = []
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

    async def list_events(self, cursors: Sequence[journal.Cursor]) -> Sequence[journal.Page | errors.Error]:
        """Has room for the answers to `room` cursors."""
        self.read.append(list(cursors))
        return [
            errors.OutOfRange() if after > self.latest else journal.Page(latest_sequence=after)
            for _, after in cursors[: self.room]
        ]


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


async def test_events_of_a_crowd_are_read_together_in_as_many_calls_as_their_answers_need(kept: Kept) -> None:
    kept.latest, kept.room = 100, 40
    asked = journal.Journal(kept)
    pages = await asyncio.gather(*(asked.events("a", after=number) for number in range(100)))
    # Each has its own answer, though several ask for the same owner.
    assert [page.latest_sequence for page in pages] == list(range(100))
    assert [len(cursors) for cursors in kept.read] == [100, 60, 20]


async def test_a_cursor_that_is_lost_is_so_for_its_reader_only(kept: Kept) -> None:
    asked = journal.Journal(kept)
    lost, found = await asyncio.gather(asked.events("a", after=2), asked.events("b", after=1), return_exceptions=True)
    assert isinstance(lost, errors.OutOfRange)
    assert isinstance(found, journal.Page)


async def test_a_call_that_does_not_return_holds_up_nobody_else(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_WAIT_SECONDS", 0.01)
    asked = journal.Journal(kept)
    stuck = asyncio.create_task(asked.position("a"))
    await called(kept, 1)
    behind = asyncio.create_task(asked.position("b"))
    await called(kept, 2)
    kept.answers.set()
    assert (await stuck, await behind) == (1, 1)
