"""Streams and polls wait for their beginning, few of them and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from chassis import errors
from gateway import problems, refusals
from gateway.stream import places, replay_pace


@asynccontextmanager
async def beginning(all_places: places.Places, user: str) -> AsyncIterator[places.Place]:
    """A request of a user, from its arrival to its beginning."""
    place = places.Place(all_places)
    await place.take()
    try:
        async with place.of_user(user):
            yield place
    finally:
        place.release()


@pytest.mark.parametrize(
    ("limit", "holders", "user"),
    [("MAX_BEGINNING_PER_USER", "aa", "a"), ("MAX_BEGINNING", "abc", "d")],
)
async def test_beginning_that_gets_no_place_in_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, limit: str, holders: str, user: str
) -> None:
    monkeypatch.setattr(places, limit, len(holders))
    all_places = places.Places()
    async with AsyncExitStack() as held:
        for holder in holders:
            await held.enter_async_context(beginning(all_places, holder))
        monkeypatch.setattr(places, "MAX_WAIT_SECONDS", 0.01)
        with pytest.raises(errors.Unavailable) as refused:
            async with asyncio.timeout(10):
                await held.enter_async_context(beginning(all_places, user))
    problem = problems.problem_of(refused.value)
    assert (problem.status, problem.code) == (503, "overloaded")
    assert int(problem.headers["Retry-After"]) in range(refusals.RETRY_SECONDS[0], refusals.RETRY_SECONDS[1] + 1)
    # The refused one holds nothing.
    async with AsyncExitStack() as held:
        for holder in holders:
            await held.enter_async_context(beginning(all_places, holder))


async def test_beginning_that_waits_for_others_of_its_user_takes_no_place_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "MAX_BEGINNING_PER_USER", 1)
    monkeypatch.setattr(places, "MAX_BEGINNING", 2)
    all_places = places.Places()
    has_begun, waits = asyncio.Event(), places.Place(all_places)

    async def begin_next() -> None:
        await waits.take()
        async with waits.of_user("a"):
            has_begun.set()

    async with asyncio.timeout(10):
        async with beginning(all_places, "a"):
            following = asyncio.create_task(begin_next())
            while not all_places.waiting:
                await asyncio.sleep(0)
            async with beginning(all_places, "b"):
                assert not has_begun.is_set()
        await following


async def test_beginning_beyond_those_that_may_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_WAITING", 0)
    with pytest.raises(errors.Unavailable):
        await places.Place(places.Places()).take()


async def test_replays_of_one_user_wait_for_their_pace_and_those_of_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    all_places = places.Places()
    async with beginning(all_places, "a") as place:
        place.count_replayed(replay_pace.FREE_EVENTS)
    async with beginning(all_places, "a") as place:
        place.count_replayed(60 * replay_pace.EVENTS_PER_SECOND)
    monkeypatch.setattr(places, "MAX_WAIT_SECONDS", 0.01)
    with pytest.raises(errors.Unavailable):
        async with beginning(all_places, "a"):
            pass
    async with beginning(all_places, "b"):
        pass
    assert all_places.of_process._value == places.MAX_BEGINNING


async def test_paces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_pace, "MAX_USERS", 2)
    pace = replay_pace.ReplayPace()
    for user in "abc":
        pace.count(user, 60 * replay_pace.EVENTS_PER_SECOND)
    assert [pace.delay(user) > 50 for user in "abc"] == [False, True, True]
