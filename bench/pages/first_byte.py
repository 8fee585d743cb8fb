"""The first byte of a page, measured with a lean client, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench import load
from bench.pages.users import Page, Users
from bench.system import System
from gateway.identity import sessions
from gateway.identity.authentication import BACKGROUND_HEADER

COUNT = 100
COLD = 9
"""Further sessions of each user, bounded by the limit per user."""


async def warm(system: System, page: Page) -> list[float]:
    """Return the seconds of requests with a cached session."""

    async def get(_: int) -> None:
        await system.http.request("GET", page.path, expected=200, cookie=page.cookie)

    await get(0)
    return await load.each(get, count=COUNT, at_once=1)


async def cold(system: System, page: Page, cookies: Sequence[str]) -> list[float]:
    """Return the seconds of a request with each of these sessions, none of them cached."""

    async def get(index: int) -> None:
        # A refresh in the background uses cached sessions for a shorter time.
        headers = {BACKGROUND_HEADER: "1"}
        await system.http.request("GET", page.path, expected=200, cookie=cookies[index], headers=headers)

    await asyncio.sleep(sessions.PASSIVE_TTL_SECONDS)
    return await load.each(get, count=len(cookies), at_once=1)


async def more_sessions(system: System, everyone: Users) -> dict[str, list[str]]:
    """Sign each user in several more times. Return the new sessions by the first session of the user."""
    return {
        user.cookie: [(await system.sign_in(user)).cookie for _ in range(COLD)]
        for user in (everyone.veteran, everyone.newcomer, everyone.waiting, everyone.admin)
    }
