"""Three times the load that two processors carry: how many requests are refused early, and how fast the rest is answered."""

from __future__ import annotations

import asyncio

from bench import http, load
from bench.samples import Row, Section
from bench.system import DEMO_OPTIONS, System

RATE = 180.0
"""Enables per second; two cores do about 60."""
COUNT = 1800
P99_SECONDS = 1.0


async def run(system: System) -> list[Section]:
    """Offer the load to fresh users and sort the answers."""
    users = await system.sign_up(COUNT)
    await system.quiet()
    refused: list[float] = []
    without_retry_after = 0

    async def enable(index: int) -> None:
        nonlocal without_retry_after
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await system.enable(users[index], DEMO_OPTIONS)
        except http.UnexpectedStatus as error:
            if error.answer.status not in (429, 503):
                raise
            refused.append(loop.time() - began)
            without_retry_after += "retry-after" not in error.answer.headers
            raise RequestRefused from error

    offered = await load.offer(enable, rate=RATE, count=COUNT)
    drained = await system.quiet()
    failures = [failure for failure in offered.failures if not isinstance(failure, RequestRefused)]
    rows = [
        Row(name="accepted", durations=offered.durations, failed=len(failures), limits=((99, P99_SECONDS),)),
        Row(name="refused with 429 or 503", durations=refused),
    ]
    first = f", the first: {failures[0]!r}" if failures else ""
    counts = f"{len(offered.durations)} accepted, {len(refused)} refused ({without_retry_after} without Retry-After)"
    notes = [
        f"{counts}, {len(failures)} failed{first}.",
        f"All accepted jobs had ended {drained:.1f} s after the last answer.",
    ]
    return [Section(title=f"Overload: {RATE:.0f} enables per second", rows=rows, notes=notes)]


class RequestRefused(Exception):
    """The system refused the request early."""
