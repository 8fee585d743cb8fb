"""Bulk data: 100,000 interactions are created, read and deleted."""

from __future__ import annotations

import time

from bench import load
from bench.events import Events
from bench.samples import Row, Section
from bench.system import System

ROUNDS = 3
CONTENT, INTERACTIONS = 1_000, 100_000
DEMO_OPTIONS = {"profile_type": "brand", "niche": "beauty", "content_count": CONTENT, "interaction_count": INTERACTIONS}
ENABLED_SECONDS = 5.0
JOB_SECONDS = 120.0


async def run(system: System) -> list[Section]:
    """Enable and disable demo mode, each time for a new user."""
    enabled: list[float] = []
    disabled: list[float] = []
    dashboards: list[float] = []
    for _ in range(ROUNDS):
        (user,) = await system.sign_up(1)

        async def dashboard(cookie: str = user.cookie) -> None:
            await system.http.request("GET", "/api/v1/metrics/dashboard", expected=200, cookie=cookie)

        async with system.watch(user) as events:
            await system.enable(user, DEMO_OPTIONS)
            enabled.append(await _until(events, "enabled"))
            dashboards.append(await load.timed(dashboard()))
            await system.disable(user)
            disabled.append(await _until(events, "disabled"))
        await system.quiet()
    rows = [
        Row(name="accepted -> enabled", durations=enabled, limits=((100, ENABLED_SECONDS),)),
        Row(name="GET /metrics/dashboard, not remembered", durations=dashboards),
        Row(name="accepted -> disabled", durations=disabled),
    ]
    return [Section(title=f"{INTERACTIONS:,} interactions and {CONTENT:,} content items", rows=rows)]


async def _until(events: Events, status: str) -> float:
    """Wait for the frame of demo mode with `status`. Return the seconds from now."""
    began = time.perf_counter()
    frame = await events.until(
        lambda frame: frame.event == "demo" and frame.data["status"] == status and frame.received_at > began,
        timeout=JOB_SECONDS,
    )
    return frame.received_at - began
