"""Readers that connect, disconnect, resume and sign out for minutes against one gateway: `python -m bench.stream.soak`.

Fails when memory or descriptors grow, or when an event is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.stream import measure, process
from bench.stream.backend import owner
from bench.stream.readers import Crowd
from gateway.stream import feed

WARM_CYCLES = 5
"""By then one-time allocations and the allocator's reserves exist."""
GROWTH_BYTES = 24 << 20
"""Allowed growth: mean of the last cycles above the mean of the first cycles after the warm-up."""
MEAN_OF = 5
SPARE_DESCRIPTORS = 20
SPARE_TASKS = 20
LINGER_SECONDS = 75.0
"""Feeds live for a minute after their last stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The gateway without readers."""

    resident: int
    descriptors: int
    tasks: int
    feeds: int
    streams: int

    @staticmethod
    def take(running: process.Running) -> Sample:
        """Measure the gateway."""
        metrics = dict(_metrics(running.port))
        return Sample(
            resident=running.memory,
            descriptors=sum(1 for _ in Path(f"/proc/{running.process.pid}/fd").iterdir()),
            tasks=int(metrics["event_loop_tasks"]),
            feeds=int(metrics["stream_feeds"]),
            streams=int(metrics["stream_connections"]),
        )

    def __str__(self) -> str:
        parts = f"{self.descriptors} descriptors, {self.tasks} tasks, {self.feeds} feeds, {self.streams} streams"
        return f"{self.resident / (1 << 20):.1f} MiB, {parts}"


class Soak:
    """One gateway and its readers."""

    def __init__(self, environment: process.Surroundings, running: process.Running, count: int) -> None:
        self._environment = environment
        self._running = running
        self._numbers = list(range(count))
        self._cursors: list[int | None] = [None] * count

    async def fill(self) -> None:
        """Fill the event memory of the gateway: from here on nothing may grow."""
        crowd = await self._come()
        await self._do("each", numbers=self._numbers, times=feed.MAX_RING_FRAMES)
        await self._all_told(crowd)
        await crowd.cut()

    async def cycle(self) -> None:
        """Connect all readers, sign some out, cut and reconnect all. Raises for a missing or duplicate event."""
        signed_out = self._numbers[::5]
        crowd = await self._come()
        await self._do("each", numbers=self._numbers, times=1)
        await self._all_told(crowd)
        await self._do("revoke", numbers=signed_out)
        await crowd.until(lambda: all(crowd.readers[number].ended_at for number in signed_out))
        if not all(crowd.readers[number].has_bye for number in signed_out):
            raise AssertionError("a stream of a session that was revoked ended without saying so")
        if sum(bool(reader.ended_at) for reader in crowd.readers) != len(signed_out):
            raise AssertionError("a stream ended whose session lives")
        await crowd.cut()
        await self._do("revoke", numbers=[])
        await self._do("each", numbers=self._numbers[::2], times=measure.MISSED_EVENTS)
        crowd = await self._come()
        await self._all_told(crowd)
        await crowd.cut()

    async def _come(self) -> Crowd:
        crowd = Crowd(self._running.port, measure.gateway_head)
        await crowd.open(len(self._numbers), cursors=self._cursors)
        return crowd

    async def _all_told(self, crowd: Crowd) -> None:
        latest = (await self._do("latest"))["latest"]
        await crowd.until(
            lambda: all((reader.cursor or 0) >= latest.get(owner(n), 0) for n, reader in enumerate(crowd.readers))
        )
        for number, reader in enumerate(crowd.readers):
            position = self._cursors[number]
            first = latest[owner(number)] - len(reader.received) if position is None else position
            if reader.received != list(range(first + 1, latest[owner(number)] + 1)):
                raise AssertionError(f"reader {number} received {reader.received} after {position}")
            self._cursors[number] = reader.cursor

    async def _do(self, command: str, **arguments: object) -> dict[str, dict[str, int]]:
        return await asyncio.to_thread(self._environment.backend.do, command, **arguments)


async def _soak(minutes: float, count: int) -> list[str]:
    with process.surroundings() as environment, process.gateway(environment) as running:
        soak, samples = Soak(environment, running, count), list[Sample]()
        await soak.fill()
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until or len(samples) < WARM_CYCLES + 2 * MEAN_OF:
            await soak.cycle()
            # The check that reports tasks and feeds runs every two seconds.
            await asyncio.sleep(2.5)
            samples.append(Sample.take(running))
            print(f"cycle {len(samples)}: {samples[-1]}; load {os.getloadavg()[0]:.1f}", flush=True)
        await asyncio.sleep(LINGER_SECONDS)
        end = Sample.take(running)
        print(f"after {LINGER_SECONDS:.0f} s without anybody: {end}")
        return _failures(samples, end)


def _failures(samples: Sequence[Sample], end: Sample) -> list[str]:
    counted = samples[WARM_CYCLES:]
    before, after = (
        sum(sample.resident for sample in some) / len(some) for some in (counted[:MEAN_OF], counted[-MEAN_OF:])
    )
    print(f"memory: {before / (1 << 20):.1f} MiB in the first cycles, {after / (1 << 20):.1f} MiB in the last")
    first = counted[0]
    checks = {
        f"memory grew by {(after - before) / (1 << 20):.1f} MiB": after - before > GROWTH_BYTES,
        f"descriptors: {first.descriptors}, then {end.descriptors}": end.descriptors
        > first.descriptors + SPARE_DESCRIPTORS,
        f"tasks: {first.tasks}, then {end.tasks}": end.tasks > first.tasks + SPARE_TASKS,
        f"{end.feeds} feeds are left": end.feeds > 0,
        f"{end.streams} streams are left": end.streams > 0,
    }
    return [failure for failure, holds in checks.items() if holds]


def _metrics(port: int) -> Iterator[tuple[str, float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            name, _, value = line.partition(" ")
            if not line.startswith("#") and "{" not in name:
                yield name, float(value)


def main(arguments: Sequence[str]) -> int:
    """Run the soak test. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream.soak", description=Path(__file__).stem)
    parser.add_argument("--minutes", type=float, default=4.0, help="of cycles (default: 4)")
    parser.add_argument("--streams", type=int, default=1_000, help="at a time (default: 1000)")
    args = parser.parse_args(arguments)
    failures = uvloop.run(_soak(args.minutes, args.streams))
    print("\n".join(failures) or "nothing grew, nothing was lost")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
