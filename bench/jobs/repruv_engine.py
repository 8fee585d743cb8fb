"""Our own engine as delivered, and the measurements made of it alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import cpu
from bench.jobs import comparison, noop
from bench.jobs.measure import Numbers, Throughput, throughput
from bench.jobs.measured_engine import Failed, MeasuredEngine
from bench.jobs.peers.contract import Record
from dev import Stack, subprocesses
from dev.launcher.stack import ROOT

NAME = "Repruv"
SETTINGS = "jobs service, one worker process (100 at once), NATS; events, outbox, signed calls, logs: all as delivered"
IDLE_SECONDS = 20.0
IDLE_SETTLE_SECONDS = 5.0
KILLS = 5
HOLD_SECONDS = 120.0
DEADLINE_SECONDS = 60.0
SUSTAINED_LIMIT = 3_000
"""Jobs per second that the record has room for."""
BYSTANDERS = ("gateway", "demo-worker", "demo", "auth")
"""Processes that do not take part. They are stopped during the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The resources of the idle system."""

    cpu: Mapping[str, float]
    """Processor seconds per second, by process."""
    memory: Mapping[str, float]
    """MiB by process. Memory that processes share is divided among them."""


@contextlib.contextmanager
def ready(directory: Path) -> Iterator[tuple[Stack, MeasuredEngine]]:
    """Start the whole system on empty servers."""
    stack = Stack(directory, env={"LOG_FORMAT": "json"}, log=directory / "stack.log")
    try:
        stack.start()
        environment = {
            **stack.environment("demo-worker"),
            "BENCH_DATABASE_URL": stack.database_url(),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}",
        }
        yield (
            stack,
            MeasuredEngine(
                command=[sys.executable, "-m", noop.__name__],
                environment=environment,
                directory=directory,
                servers=lambda: {
                    "jobs": stack.pids("jobs"),
                    "postgres": cpu.tree(stack.servers.postgres.pid),
                    "nats": cpu.tree(stack.servers.nats.pid),
                },
                checkpoint=lambda: comparison.checkpoint(stack.database_url()),
            ),
        )
    finally:
        stack.stop()
        if hasattr(stack, "servers"):
            stack.servers.erase()


def rest(stack: Stack) -> None:
    """Stop the processes that do not take part."""
    for name in BYSTANDERS:
        stack.stop_process(name)


def idle(stack: Stack, target: MeasuredEngine, seconds: float = IDLE_SECONDS) -> Idle:
    """Measure the idle system with a worker for a while."""
    path = target.directory / "record-idle"
    Record.make(path, 1)
    with target.working(path) as worker:
        time.sleep(IDLE_SETTLE_SECONDS)

        def pids() -> dict[str, list[int]]:
            processes = {name: stack.pids(name) for name in stack.names}
            servers = {engine.name: cpu.tree(engine.pid) for engine in (stack.servers.postgres, stack.servers.nats)}
            return {**processes, "no-op worker": [worker.pid], **servers}

        before, began = (
            {name: cpu.processor_seconds(process_ids) for name, process_ids in pids().items()},
            time.monotonic(),
        )
        time.sleep(seconds)
        passed = time.monotonic() - began
        used = {
            name: (cpu.processor_seconds(process_ids) - before[name]) / passed for name, process_ids in pids().items()
        }
        memory = {name: _memory(process_ids) for name, process_ids in pids().items()}
    return Idle(cpu=used, memory=memory)


def sustained(target: MeasuredEngine, seconds: float) -> Throughput:
    """Submit as fast as 20 clients can for a number of seconds."""
    numbers = Numbers(target.directory / "record-sustained", round(seconds * SUSTAINED_LIMIT) + 1_000)
    with target.working(numbers.path) as worker:
        return throughput(target, worker.pid, numbers, round(seconds * SUSTAINED_LIMIT), seconds=seconds)


def kills(target: MeasuredEngine, count: int = KILLS) -> list[float]:
    """Kill a worker during a job, `count` times. Return the seconds until another worker has started each job."""
    path = target.directory / "record-kills"
    record = Record.make(path, 2 * count)
    seconds = []

    def has_started(slot: int) -> bool:
        return record[slot] > 0

    with contextlib.ExitStack() as workers:

        def start(number: int) -> subprocess.Popen[bytes]:
            log = f"killed-{number}.log"
            worker = target.start_worker(path, log)
            workers.callback(subprocesses.kill, worker)
            _until(lambda: b"worker is ready" in (target.directory / log).read_bytes(), "a worker was not ready")
            return worker

        victim = start(0)
        for number in range(count):
            asyncio.run(_submit(target, 2 * number))
            _until(partial(has_started, 2 * number), "the job did not start")
            successor = start(number + 1)
            killed = time.monotonic()
            os.kill(victim.pid, signal.SIGKILL)
            _until(partial(has_started, 2 * number + 1), "the job did not start again")
            seconds.append(record[2 * number + 1] - killed)
            victim = successor
    return seconds


async def _submit(target: MeasuredEngine, index: int) -> None:
    async with noop.connected(target.environment) as client:
        await client.submit_holding(index, HOLD_SECONDS)


def _until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(complaint)
        time.sleep(0.01)


def _memory(pids: Sequence[int]) -> float:
    """Return the proportional MiB of processes: memory that several share is divided among them."""
    rows = [line.split() for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(row[1]) for row in rows if row[0] == "Pss:") / 1024
