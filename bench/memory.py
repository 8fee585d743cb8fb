"""`python -m bench.memory`: resident memory of every process during minutes of steady load; fails where it keeps growing."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import load
from bench.events import Events, Frame
from bench.system import System, User, running
from dev import Stack

SAMPLE_SECONDS = 15.0
WARM_SECONDS = 300.0
"""By then caches and the allocators' reserves are full."""
GROWTH_MIB = 16.0
"""Allowed growth: the median of the last quarter of the samples above that of the first quarter after the warm-up."""
CHANGE_SECONDS = 60.0
OPTIONS = {"profile_type": "creator", "niche": "gaming", "content_count": 5, "interaction_count": 500}

Samples = dict[str, list[float]]


def main(arguments: Sequence[str]) -> int:
    """Put a system under load and measure. Return the exit code: 1 if a process grew or a request failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of load (20)")
    parser.add_argument("--rate", type=float, default=5.0, help="users a second who enable, read and disable (5)")
    args = parser.parse_args(arguments)
    with running() as stack:
        return uvloop.run(_run(System(stack), minutes=args.minutes, rate=args.rate))


async def _run(system: System, *, minutes: float, rate: float) -> int:
    users = deque(await system.sign_up(max(20, round(rate * 2 * CHANGE_SECONDS))))

    async def visit(_: int) -> None:
        user = users.popleft()
        await _visit(system, user)
        users.append(user)

    samples: Samples = {name: [] for name in system.stack.names if system.stack.pids(name)}
    sampling = asyncio.create_task(_sample(system.stack, samples))
    try:
        offered = await load.offer(visit, rate=rate, count=round(rate * minutes * 60))
    finally:
        sampling.cancel()
    await system.quiet()
    print(f"{len(offered.durations)} visits, {len(offered.failures)} failed; load average {os.getloadavg()[1]:.0f}\n")
    growth = _report(samples)
    problems = [f"{name} grew by {mib:.0f} MiB" for name, mib in growth.items() if mib > GROWTH_MIB]
    problems += [repr(error) for error in offered.failures[:5]]
    print("\n".join(["", *problems]) if problems else "\nnothing grew, nothing failed")
    return 1 if problems else 0


async def _visit(system: System, user: User) -> None:
    """Enable demo mode, look at the dashboard and disable it, with an open stream."""
    async with system.watch(user) as events:
        await _until_ended(events, await system.enable(user, OPTIONS), "enabled")
        await system.http.request("GET", "/dashboard", expected=200, cookie=user.cookie)
        await _until_ended(events, await system.disable(user), "disabled")


async def _until_ended(events: Events, job_id: str, state: str) -> None:
    def matches(frame: Frame) -> bool:
        return frame.event == "demo" and (frame.data["job_id"], frame.data["status"]) == (job_id, state)

    await events.until(matches, timeout=CHANGE_SECONDS)


async def _sample(stack: Stack, samples: Samples) -> None:
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        for name, taken in samples.items():
            taken.append(sum(map(_resident, stack.pids(name))))


def _resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _report(samples: Samples) -> dict[str, float]:
    """Print the table. Return the growth of each process in MiB."""
    print("| process | at first | after the warm-up | at the end | most |\n|---|---|---|---|---|")
    growth = {}
    for name, taken in samples.items():
        counted = taken[min(round(WARM_SECONDS / SAMPLE_SECONDS), len(taken) // 2) :]
        quarter = max(1, len(counted) // 4)
        first, last = (sorted(some)[len(some) // 2] for some in (counted[:quarter], counted[-quarter:]))
        growth[name] = last - first
        print(f"| {name} | {taken[0]:.0f} | {first:.0f} | {last:.0f} | {max(taken):.0f} MiB |")
    return growth


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
