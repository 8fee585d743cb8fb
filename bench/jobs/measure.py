"""The measurements of every engine: throughput, drain of waiting jobs, pickup latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.jobs.measured_engine import MeasuredEngine
from bench.jobs.peers.contract import WARM_UP, Record

PILOT = 100
"""Jobs by which the engine's speed is guessed."""
LEAST = 200
SECONDS = 25.0
"""About how long a measurement should take at most."""
EVERY = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    count: int
    """Jobs of a measurement, of an engine that is fast enough."""
    pickup_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Jobs that were submitted and done."""

    count: int
    seconds: float
    """From the first submit until the engine knew of the last job that it had ended."""
    behind: float
    """How many of these seconds came after the last submit."""
    costs: dict[str, float]
    """Processor seconds by process."""
    pickups: Sequence[float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came out for one engine; durations in seconds."""

    throughput: Throughput
    drain: float
    """Jobs a second."""
    pickups: Sequence[float]
    """From before the submit until the handler runs."""
    submits: Sequence[float]


def fitting(count: int, rate: float, seconds: float = SECONDS) -> int:
    """Give how many jobs to measure so that `rate` jobs a second take about `seconds`: at most `count`, but not too few."""
    return min(count, max(LEAST, int(rate * seconds)))


def measure(target: MeasuredEngine, plan: Plan, status: Callable[[str], None]) -> Figures:
    """Measure everything; raises `Failed`."""
    path = target.directory / "record"
    paced = round(plan.pickup_seconds / EVERY)
    numbers = Numbers(path, 3 * plan.count + paced + PILOT + 4 * WARM_UP)
    with target.working(path) as worker:
        status("first jobs")
        pilot = throughput(target, worker.pid, numbers, PILOT)
        count = fitting(plan.count, pilot.rate)
        target.checkpoint()
        status(f"{count} jobs")
        done = throughput(target, worker.pid, numbers, count)
        target.checkpoint()
        status("pickup")
        picked, _ = target.run("submit", *numbers.take(paced), f"--every={EVERY}")
    status(f"{count} waiting jobs")
    return Figures(
        throughput=done,
        drain=_drain(target, numbers, count),
        pickups=picked["pickups"],
        submits=picked["submits"],
    )


def throughput(
    target: MeasuredEngine, worker: int, numbers: Numbers, count: int, *, seconds: float = 0.0
) -> Throughput:
    """Submit by 20 clients at once, while one worker works; for so many seconds, if they are given, and not above `count`."""
    before = cpu.taken(cpu.tree(worker))
    told, costs = target.run("submit", *numbers.take(count), f"--seconds={seconds}", seconds=seconds)
    costs = {"worker": cpu.taken(cpu.tree(worker)) - before, "client": told["cpu"], **costs}
    return Throughput(
        count=len(told["submits"]),
        seconds=told["completed"] - told["began"],
        behind=told["completed"] - told["submitted"],
        costs=costs,
        pickups=told["pickups"],
    )


def _drain(target: MeasuredEngine, numbers: Numbers, count: int) -> float:
    """Let a worker start when all jobs wait; from its first handler on, so the start of the process is not counted."""
    arguments = numbers.take(count)
    target.run("submit", *arguments, "--leave", "--warm-up=0")
    target.checkpoint()
    with target.working(numbers.path):
        told, _ = target.run("wait", *arguments)
    first, record = int(arguments[1]), Record(numbers.path)
    completed: float = told["completed"]
    return count / (completed - min(record[index] for index in range(first, first + count)))


class Numbers:
    """Deals out the numbers of jobs, none twice, with room for them in a record."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.path = path
        self._next = 0
        self._capacity = len(Record.make(path, capacity))

    def take(self, count: int) -> tuple[str, str, str]:
        first = self._next
        self._next += count + WARM_UP
        assert self._next <= self._capacity
        return str(self.path), str(first), str(count)
