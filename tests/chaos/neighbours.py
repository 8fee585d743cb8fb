"""Owners in trouble must not delay the operations of other owners."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.chaos.journal import Journal

TROUBLE_SECONDS = 20.0
DELAY_BOUND_SECONDS = 8.0
"""A change of demo mode takes at most this long, from the call to its visible end.

A change that waits for the trouble of others ends with the trouble.
"""
SLOWER = 4.0
"""On a slow machine a change may take this many times as long as the slowest one without trouble."""
LONGEST_SECONDS = 0.8 * TROUBLE_SECONDS
"""However slow the machine is, a change that takes this long has waited for the trouble."""
BYSTANDERS = 5
FLOOD_CLIENTS = 8
IDLE_STREAMS = 5
LARGE = {"content_count": 1, "interaction_count": 15_000}
SMALL = {"content_count": 1, "interaction_count": 60}
LOCK_OWNER: LiteralString = "SELECT FROM jobs.owners WHERE owner_id = %s FOR UPDATE"
LOCK_MODE: LiteralString = "SELECT FROM demo.demo_modes WHERE owner_id = %s FOR UPDATE"


async def no_owner_is_delayed_by_another(system: System, urls: list[str], journal: Journal, seed: int) -> None:
    """Trouble five owners for a while; every operation of the others ends within the bound.

    The rows of two are locked, one has a large job, one floods the API, one opens streams that it does not read.
    """
    choose = random.Random(seed).choice
    troubled = [await User.register(choose(urls)) for _ in range(5)]
    bystanders = [await User.register(urls[number % len(urls)]) for number in range(BYSTANDERS)]
    for user in troubled[:2]:
        await user.enable(SMALL)
        await user.wait_for_status("enabled")
    alone = [delay for delays in await asyncio.gather(*map(_toggle_once, bystanders)) for delay in delays]
    journal.write("disturbance", deed=f"five owners are in trouble for {TROUBLE_SECONDS:g} s")
    stop = asyncio.Event()
    acting = [asyncio.create_task(_toggle(user, stop)) for user in bystanders]
    first, second, large, flooding, idle = troubled
    try:
        await asyncio.gather(
            _lock(system, LOCK_OWNER, first),
            _lock(system, LOCK_MODE, second),
            large.enable(LARGE),
            *(_flood(flooding, SMALL) for _ in range(FLOOD_CLIENTS)),
            *(_open_stream(idle) for _ in range(IDLE_STREAMS)),
        )
    finally:
        stop.set()
        delays = await asyncio.gather(*acting)
    for user, seconds in zip(bystanders, delays, strict=True):
        journal.write("bystander", user=user.user_id, delays=[round(delay, 3) for delay in seconds])
    beside = [delay for seconds in delays for delay in seconds]
    print(
        f"changes by owners beside five in trouble: {len(beside)}, the slowest took {max(beside):.1f} s; alone {max(alone):.1f} s"
    )
    must_be_prompt(beside, alone)
    for user in troubled + bystanders:
        await user.close()


def must_be_prompt(beside: list[float], alone: list[float]) -> None:
    """Assert that no change beside owners in trouble took longer than the bound; `alone` has the seconds without trouble."""
    bound = min(max(DELAY_BOUND_SECONDS, SLOWER * max(alone)), LONGEST_SECONDS)
    assert max(beside) < bound, (max(beside), max(alone), os.getloadavg())


async def _toggle(user: User, stop: asyncio.Event) -> list[float]:
    """Enable and disable until `stop` is set; return the seconds until each change was done."""
    delays = []
    while not stop.is_set():
        delays += await _toggle_once(user)
    return delays


async def _toggle_once(user: User) -> list[float]:
    delays = []
    for status in ("enabled", "disabled"):
        began = time.monotonic()
        await (user.enable(SMALL) if status == "enabled" else user.disable())
        await user.wait_for_status(status, seconds=TROUBLE_SECONDS * 2)
        delays.append(time.monotonic() - began)
    return delays


async def _lock(system: System, statement: LiteralString, user: User) -> None:
    """Hold the lock of an owner's row while the owner goes on acting."""
    connection = await psycopg.AsyncConnection.connect(system.superuser_url(), connect_timeout=5)
    async with connection, connection.transaction():
        await connection.execute(statement, [user.user_id])
        ends_at = time.monotonic() + TROUBLE_SECONDS
        while time.monotonic() < ends_at:
            answers = await asyncio.gather(user.post("/demo/disable"), user.post("/exports"))
            assert not [answer.text for answer in answers if answer.status_code == 500]
            await asyncio.sleep(0.2)


async def _flood(user: User, options: dict[str, int]) -> None:
    """Repeat calls without a pause."""
    ends_at = time.monotonic() + TROUBLE_SECONDS
    while time.monotonic() < ends_at:
        for path in ("/demo/enable", "/demo/disable", "/exports"):
            answer = await user.post(path, json=options if path == "/demo/enable" else None)
            assert answer.status_code != 500, answer.text


async def _open_stream(user: User) -> None:
    """Open an event stream and read nothing of it."""
    address = urlsplit(str(user.http.base_url))
    cookies = "; ".join(f"{name}={value}" for name, value in user.http.cookies.items())
    _, writer = await asyncio.open_connection(address.hostname, address.port, limit=1)
    request = f"GET /api/v1/events HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookies}\r\n\r\n"
    writer.write(request.encode())
    await writer.drain()
    await asyncio.sleep(TROUBLE_SECONDS)
    writer.transport.abort()
