"""The measurements of every engine: throughput, drain of waiting jobs, pickup latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.jobs.measured_engine import MeasuredEngine
from bench.jobs.peers.contract import WARM_UP, Record

PILOT = 100
"""Jobs of the trial run that estimates the speed of the engine."""
MIN_JOBS = 200
MAX_SECONDS = 25.0
"""Approximate upper bound of a measurement in seconds."""
PICKUP_INTERVAL = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a measurement."""

    count: int
    """Jobs of a measurement for a fast engine."""
    pickup_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Submitted and finished jobs."""

    count: int
    seconds: float
    """From the first submit until the engine has recorded the end of the last job."""
    behind: float
    """The part of these seconds after the last submit."""
    costs: dict[str, float]
    """Processor seconds by process."""
    pickups: Sequence[float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one engine; durations in seconds."""

    throughput: Throughput
    drain: float
    """Jobs per second."""
    pickups: Sequence[float]
    """From before the submit until the handler runs."""
    submits: Sequence[float]


def measure(target: MeasuredEngine, plan: Plan, status: Callable[[str], None]) -> Figures:
    """Run all measurements. Raises `Failed`."""
    path = target.directory / "record"
    paced = round(plan.pickup_seconds / PICKUP_INTERVAL)
    numbers = Numbers(path, 3 * plan.count + paced + PILOT + 4 * WARM_UP)
    with target.working(path) as worker:
        status("first jobs")
        pilot = throughput(target, worker.pid, numbers, PILOT)
        # About `MAX_SECONDS` of jobs, but not too few.
        count = min(plan.count, max(MIN_JOBS, int(pilot.rate * MAX_SECONDS)))
        target.checkpoint()
        status(f"{count} jobs")
        done = throughput(target, worker.pid, numbers, count)
        target.checkpoint()
        status("pickup")
        picked, _ = target.run("submit", *numbers.take(paced), f"--every={PICKUP_INTERVAL}")
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
    """Submit with 20 clients while one worker works: `count` jobs, or as many as fit into `seconds`."""
    before = cpu.processor_seconds(cpu.tree(worker))
    result, costs = target.run("submit", *numbers.take(count), f"--seconds={seconds}", seconds=seconds)
    costs = {"worker": cpu.processor_seconds(cpu.tree(worker)) - before, "client": result["cpu"], **costs}
    return Throughput(
        count=len(result["submits"]),
        seconds=result["completed"] - result["began"],
        behind=result["completed"] - result["submitted"],
        costs=costs,
        pickups=result["pickups"],
    )


def _drain(target: MeasuredEngine, numbers: Numbers, count: int) -> float:
    """Start a worker after all jobs are submitted. Measured from its first handler, so without its start."""
    arguments = numbers.take(count)
    target.run("submit", *arguments, "--leave", "--warm-up=0")
    target.checkpoint()
    with target.working(numbers.path):
        result, _ = target.run("wait", *arguments)
    first, record = int(arguments[1]), Record(numbers.path)
    completed: float = result["completed"]
    return count / (completed - min(record[index] for index in range(first, first + count)))


class Numbers:
    """Allocates unique job numbers within a record."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.path = path
        self._next = 0
        self._capacity = len(Record.make(path, capacity))

    def take(self, count: int) -> tuple[str, str, str]:
        first = self._next
        self._next += count + WARM_UP
        assert self._next <= self._capacity
        return str(self.path), str(first), str(count)
