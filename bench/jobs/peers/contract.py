"""The command line of every engine's script: the same work, measured by the same code.

The scripts of the peers run in separate virtual environments, so this module uses the standard library only.

    script setup                         create the engine's schema in an empty database
    script work RECORD                   work until SIGTERM, 20 jobs at once or as many as the engine recommends
    script submit RECORD FIRST COUNT …   submit jobs; the payload of a job is its number
    script wait RECORD FIRST COUNT       wait until these jobs have ended
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import mmap
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

BEGIN = "bench-begins"
RESULT = "bench-result "
CLIENTS = 20
WARM_UP = 40
GLANCE_SECONDS = 0.005
"""How exactly the end of the last job is known."""
DEADLINE_SECONDS = 150.0


def started(index: int) -> None:
    """Note that the handler of this job runs now; what each handler calls, and does nothing else."""
    _record.note(index)


class Client(ABC):
    """Submits jobs as an application would, from one process."""

    @abstractmethod
    async def submit(self, index: int) -> None:
        """Return once the engine has accepted the job: once it will run, whatever ends now."""

    @abstractmethod
    async def unfinished(self) -> int:
        """Count the jobs of which the engine does not know yet that they have ended."""


class Engine(ABC):
    """An engine, as its documentation says it should be set up in production."""

    async def setup(self) -> None:  # noqa: B027 - in Redis nothing is to be made
        """Make what it needs in an empty database."""

    @abstractmethod
    def work(self) -> None:
        """Work until SIGTERM."""

    @abstractmethod
    def client(self) -> contextlib.AbstractAsyncContextManager[Client]:
        """Connect."""


class Record:
    """When each job's handler started: a file in the memory of all processes, 8 bytes a job, zero while it has not."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._times = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    @staticmethod
    def make(path: Path, capacity: int) -> Record:
        """Make a record for so many jobs."""
        with path.open("wb") as file:
            file.truncate(8 * capacity)
        return Record(path)

    def __len__(self) -> int:
        return len(self._times)

    def note(self, index: int) -> None:
        """Note that the handler of this job starts now."""
        self._times[index] = time.monotonic_ns()

    def __getitem__(self, index: int) -> float:
        """Seconds of the monotonic clock, which all processes share; 0 if it has not started."""
        return self._times[index] / 1e9


_record: Record


def main(engine: Engine) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup")
    commands.add_parser("work").add_argument("record", type=Path)
    for name in ("submit", "wait"):
        command = commands.add_parser(name)
        command.add_argument("record", type=Path)
        command.add_argument("first", type=int)
        command.add_argument("count", type=int)
    submit = commands.choices["submit"]
    submit.add_argument("--warm-up", type=int, default=WARM_UP, help="jobs before the first that is measured")
    submit.add_argument("--every", type=float, default=0.0, help="seconds between two jobs; else 20 clients, no pause")
    submit.add_argument("--seconds", type=float, default=0.0, help="end after so long, at the latest after COUNT jobs")
    submit.add_argument("--leave", action="store_true", help="do not wait until they have ended")
    chosen = parser.parse_args()
    if chosen.command == "setup":
        run(engine.setup())
    elif chosen.command == "work":
        global _record
        _record = Record(chosen.record)
        engine.work()
    else:
        run(_client(engine, chosen))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it in uvloop, where that is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _client(engine: Engine, chosen: argparse.Namespace) -> None:
    record = Record(chosen.record)
    first, count = chosen.first, chosen.count
    async with engine.client() as client:
        if chosen.command == "wait":
            await _ended(client, record, first, count)
            _tell(completed=time.monotonic())
            return
        await _at_once(client, iter(range(first, first + chosen.warm_up)))
        if not chosen.leave:
            await _ended(client, record, first, chosen.warm_up)
        print(BEGIN, flush=True)
        first += chosen.warm_up
        began, cpu = time.monotonic(), time.process_time()
        indexes = iter(range(first, first + count))
        if chosen.every:
            submits = await _paced(client, indexes, chosen.every)
        else:
            submits = await _at_once(client, _until(indexes, began + chosen.seconds) if chosen.seconds else indexes)
        submitted, cpu = time.monotonic(), time.process_time() - cpu
        if not chosen.leave:
            await _ended(client, record, first, len(submits))
        _tell(
            began=began,
            submitted=submitted,
            completed=time.monotonic(),
            cpu=cpu,
            submits=[duration for _, _, duration in submits],
            pickups=[] if chosen.leave else [record[index] - begin for index, begin, _ in submits],
        )


async def _at_once(client: Client, indexes: Iterator[int]) -> list[tuple[int, float, float]]:
    """Submit by 20 clients, each of which waits for its answer; gives number, begin and duration of each submit."""
    submits: list[tuple[int, float, float]] = []

    async def submit() -> None:
        for index in indexes:
            submits.append(await _submit(client, index))  # noqa: PERF401 - all clients append to one list

    await asyncio.gather(*(submit() for _ in range(CLIENTS)))
    return submits


async def _paced(client: Client, indexes: Iterator[int], every: float) -> list[tuple[int, float, float]]:
    """Submit at fixed times, however long the submits before take."""
    tasks = []
    due = time.monotonic()
    for index in indexes:
        await asyncio.sleep(due - time.monotonic())
        tasks.append(asyncio.create_task(_submit(client, index)))
        due += every
    return list(await asyncio.gather(*tasks))


async def _submit(client: Client, index: int) -> tuple[int, float, float]:
    begin = time.monotonic()
    await client.submit(index)
    return index, begin, time.monotonic() - begin


def _until(indexes: Iterator[int], end: float) -> Iterator[int]:
    for index in indexes:
        if time.monotonic() >= end:
            return
        yield index


async def _ended(client: Client, record: Record, first: int, count: int) -> None:
    """Wait until all have started, as the shared memory tells at no cost, and then until the engine knows their end."""
    waiting = first
    async with asyncio.timeout(DEADLINE_SECONDS):
        while waiting < first + count:
            if record[waiting]:
                waiting += 1
            else:
                await asyncio.sleep(GLANCE_SECONDS)
        while await client.unfinished():  # noqa: ASYNC110 - only the engine knows
            await asyncio.sleep(GLANCE_SECONDS)


def _tell(**result: object) -> None:
    print(f"{RESULT}{json.dumps(result)}", flush=True)
