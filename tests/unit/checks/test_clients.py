"""The checks of chaos clients go red: each finds a wrong answer, a leak, a delay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.users import User
from tests.chaos import actor, neighbours
from tests.chaos.actor import Actor
from tests.chaos.leaks import TASKS_SPARE, Baseline

Handler = Callable[[httpx.Request], httpx.Response]


async def acting(handler: Handler) -> Actor:
    """Return a user whose system answers so."""
    user = User("http://system")
    await user.close()
    user.http = httpx.AsyncClient(base_url="http://system", transport=httpx.MockTransport(handler))
    return Actor(user, 1)


@pytest.mark.parametrize(
    ("status", "is_expected"), [(500, False), (400, False), (403, False), (503, True), (409, True)]
)
async def test_unexpected_answer_is_found(status: int, is_expected: bool) -> None:
    async def export() -> None:
        user = await acting(lambda request: httpx.Response(status, json={"code": "x"}))
        await user._post("/exports")

    if is_expected:
        await export()
    else:
        with pytest.raises(AssertionError, match=str(status)):
            await export()


@pytest.mark.parametrize(("demo_mode", "rows"), [("enabled", []), ("disabled", [{}])])
async def test_rows_that_disagree_with_demo_mode_are_found(demo_mode: str, rows: list[Any]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/demo/status"):
            return httpx.Response(
                200, json={"version": 1, "status": demo_mode, "demo_mode": demo_mode == "enabled", "progress": None}
            )
        return httpx.Response(200, json={"interactions": rows})

    user = await acting(answer)
    with pytest.raises(AssertionError):
        await user._check()


async def test_session_that_outlives_its_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "REVOKED_SECONDS", 0.0)
    sign_in = User("http://system")
    await sign_in.close()

    def open_again(url: str, *, email: str) -> User:
        sign_in.http = httpx.AsyncClient(
            base_url=url, transport=httpx.MockTransport(lambda request: httpx.Response(200, json={}))
        )
        return sign_in

    monkeypatch.setattr(actor, "User", open_again)
    user = await acting(lambda request: httpx.Response(200))
    with pytest.raises(AssertionError):
        await user._sign_in_and_out()


@pytest.mark.parametrize(
    ("beside", "alone", "is_prompt"),
    [
        ([0.9, 4.1], [0.8], True),
        ([0.9, 8.1], [0.8], False),
        ([0.9, 8.1], [2.1], True),
        ([0.9, 16.1], [9.0], False),
    ],
    ids=["prompt", "delayed", "slow machine", "delayed on a slow machine"],
)
def test_delayed_neighbour_is_found(beside: list[float], alone: list[float], is_prompt: bool) -> None:
    if is_prompt:
        neighbours.must_be_prompt(beside, alone)
    else:
        with pytest.raises(AssertionError):
            neighbours.must_be_prompt(beside, alone)


@pytest.mark.parametrize(
    ("consumers", "tasks", "has_grown"),
    [(2, 28 + TASKS_SPARE, False), (3, 28, True), (1, 28, True), (2, 29 + TASKS_SPARE, True)],
)
def test_consumer_or_task_that_remains_is_found(consumers: int, tasks: int, has_grown: bool) -> None:
    assert Baseline({"JOBS": consumers}, tasks).has_grown(Baseline({"JOBS": 2}, 28)) is has_grown
