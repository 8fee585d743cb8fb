"""Streams and polls wait for their beginning, few of them and not for ever."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from chassis import errors
from gateway import problems, refusals
from gateway.stream import places


@pytest.mark.parametrize(
    ("limit", "holders", "user"),
    [("MAX_BEGINNING_PER_USER", "aa", "a"), ("MAX_BEGINNING", "abc", "d")],
)
async def test_beginning_that_gets_no_place_in_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, limit: str, holders: str, user: str
) -> None:
    monkeypatch.setattr(places, limit, len(holders))
    beginning = places.Places()
    async with AsyncExitStack() as held:
        for holder in holders:
            await held.enter_async_context(beginning.place(holder))
        monkeypatch.setattr(places, "MAX_WAIT_SECONDS", 0.01)
        with pytest.raises(errors.Unavailable) as refused:
            async with asyncio.timeout(10):
                await held.enter_async_context(beginning.place(user))
    problem = problems.problem_of(refused.value)
    assert (problem.status, problem.code) == (503, "overloaded")
    assert int(problem.headers["Retry-After"]) in range(refusals.RETRY_SECONDS[0], refusals.RETRY_SECONDS[1] + 1)
    # The refused one holds nothing.
    async with AsyncExitStack() as held:
        for holder in holders:
            await held.enter_async_context(beginning.place(holder))


async def test_beginning_beyond_those_that_may_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_WAITING", 0)
    with pytest.raises(errors.Unavailable):
        async with places.Places().place("a"):
            pass
