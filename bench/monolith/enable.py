"""The cost of an enable with its job, for the system and the monolith by turns: same work, load and machine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench import cpu, http, load
from bench.jobs import installed
from bench.monolith import stack
from bench.samples import Row, Section, percentile
from bench.system import DEMO_OPTIONS, System

LOADS = ((20.0, 400), (100.0, 3000))
"""Requests per second, and requests of a round."""
ROUNDS = 2
DRAIN_SECONDS = 60.0
POLL_SECONDS = 0.02
PROCESSOR_RATIO = 2.0
MEDIAN_RATIO = 1.5


@dataclass(slots=True, kw_only=True)
class Results:
    """The results of one system at one load."""

    durations: list[float] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    drained: float = 0.0
    """Longest time in seconds from the last answer to the end of the last job."""
    costs: dict[str, float] = field(default_factory=dict)
    """Processor seconds by process, of all rounds."""

    def add(
        self, offered: load.Offered, drained: float, before: Mapping[str, float], after: Mapping[str, float]
    ) -> None:
        """Add a round."""
        self.durations += offered.durations
        self.failures += offered.failures
        self.drained = max(self.drained, drained)
        for name in after:
            self.costs[name] = self.costs.get(name, 0.0) + after[name] - before[name]

    def cost(self) -> float:
        """Return the processor milliseconds of an accepted enable with its job; refused ones cost too."""
        return sum(self.costs.values()) * 1000 / (len(self.durations) or math.nan)

    def describe(self, name: str) -> str:
        """Return one line: the costs by process, and what failed."""
        parts = sorted(self.costs.items(), key=lambda item: -item[1])
        costs = ", ".join(
            f"{process} {seconds * 1000 / (len(self.durations) or math.nan):.1f}" for process, seconds in parts
        )
        failed = f"; {len(self.failures)} failed, the first: {self.failures[0]!r}"[:200] if self.failures else ""
        return (
            f"{name}: {self.cost():.1f} processor ms an enable with its job ({costs}); "
            f"drained {self.drained:.1f} s after the last answer{failed}"
        )


async def run(system: System) -> list[Section]:
    """Measure at each load. Without Redis or the packages of the monolith there is nothing to compare with."""
    try:
        with stack.running() as monolith:
            return [await _compare(system, monolith, rate, count) for rate, count in LOADS]
    except installed.Missing as missing:
        return [Section(title="Enable beside the monolith", rows=[], notes=[f"not measured: {missing}"])]


async def _compare(system: System, monolith: stack.Monolith, rate: float, count: int) -> Section:
    repruv_results, monolith_results = Results(), Results()
    client = http.Client(monolith.url)
    await _round(system, repruv_results, rate=20.0, count=40)
    await _monolith_round(client, monolith, monolith_results, rate=20.0, count=40)
    repruv_results, monolith_results = Results(), Results()
    for _ in range(ROUNDS):
        await _round(system, repruv_results, rate=rate, count=count)
        await _monolith_round(client, monolith, monolith_results, rate=rate, count=count)
    client.close()
    median = percentile(monolith_results.durations, 50) * MEDIAN_RATIO
    rows = [
        Row(
            name="POST /demo/enable",
            durations=repruv_results.durations,
            failed=len(repruv_results.failures),
            limits=((50, median),),
        ),
        Row(name="  the monolith's", durations=monolith_results.durations, failed=len(monolith_results.failures)),
    ]
    processor = repruv_results.cost() / monolith_results.cost()
    verdict = "met" if processor <= PROCESSOR_RATIO else "MISSED"
    ratio = percentile(repruv_results.durations, 50) / percentile(monolith_results.durations, 50)
    notes = [
        repruv_results.describe("Repruv"),
        monolith_results.describe("The monolith"),
        f"Processor time: {processor:.2f} times the monolith's (target {PROCESSOR_RATIO:.1f}, {verdict}).",
        f"Median: {ratio:.2f} times the monolith's.",
    ]
    return Section(title=f"Enable beside the monolith, {rate:.0f} requests/s", rows=rows, notes=notes)


async def _round(system: System, measured: Results, *, rate: float, count: int) -> None:
    users = await system.sign_up(count)
    await system.quiet()
    before = cpu.seconds(system.stack)

    async def enable(index: int) -> None:
        await system.enable(users[index], DEMO_OPTIONS)

    offered = await load.offer(enable, rate=rate, count=count)
    drained = await system.finished()
    await system.quiet()  # the deletion of outbox rows belongs to the cost
    measured.add(offered, drained, before, cpu.seconds(system.stack))


async def _monolith_round(
    client: http.Client, monolith: stack.Monolith, measured: Results, *, rate: float, count: int
) -> None:
    sessions = [
        (await client.request("POST", "/register", expected=200, body={})).json()["session"] for _ in range(count)
    ]
    before = monolith.cpu_seconds()

    async def enable(index: int) -> None:
        await client.request(
            "POST", "/demo/enable", expected=202, body=DEMO_OPTIONS, cookie=f"session={sessions[index]}"
        )

    offered = await load.offer(enable, rate=rate, count=count)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (await client.request("GET", "/unfinished", expected=200)).json()["jobs"]:
        if loop.time() - began > DRAIN_SECONDS:
            break
        await asyncio.sleep(POLL_SECONDS)
    measured.add(offered, loop.time() - began, before, monolith.cpu_seconds())
