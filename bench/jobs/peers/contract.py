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
"""Resolution of the end of the last job, in seconds."""
DEADLINE_SECONDS = 150.0


def started(index: int) -> None:
    """Record that the handler of this job runs now. Every handler calls only this."""
    _record.note(index)


class Client(ABC):
    """Submits jobs from one process, as an application does."""

    @abstractmethod
    async def submit(self, index: int) -> None:
        """Submit a job and return when it is durable, so that it runs whatever crashes."""

    @abstractmethod
    async def unfinished(self) -> int:
        """Return the number of jobs whose end the engine has not recorded yet."""


class Engine(ABC):
    """An engine, set up as its documentation recommends for production."""

    async def setup(self) -> None:  # noqa: B027 - Redis needs no schema
        """Create its schema in an empty database."""

    @abstractmethod
    def work(self) -> None:
        """Work until SIGTERM."""

    @abstractmethod
    def client(self) -> contextlib.AbstractAsyncContextManager[Client]:
        """Connect."""


class Record:
    """The start time of each job's handler, in a file shared by all processes: 8 bytes per job, zero before the start."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._times = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    @staticmethod
    def make(path: Path, capacity: int) -> Record:
        """Create a record for a number of jobs."""
        with path.open("wb") as file:
            file.truncate(8 * capacity)
        return Record(path)

    def __len__(self) -> int:
        return len(self._times)

    def note(self, index: int) -> None:
        """Record that the handler of this job starts now."""
        self._times[index] = time.monotonic_ns()

    def __getitem__(self, index: int) -> float:
        """Return the start by the monotonic clock of the machine in seconds, or 0."""
        return self._times[index] / 1e9


_record: Record


def main(engine: Engine) -> None:
    """Run the command of the command line."""
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
    submit.add_argument(
        "--every", type=float, default=0.0, help="seconds between two jobs (default: no pause, 20 clients)"
    )
    submit.add_argument("--seconds", type=float, default=0.0, help="end after this time or after COUNT jobs")
    submit.add_argument("--leave", action="store_true", help="do not wait until the jobs have ended")
    args = parser.parse_args()
    if args.command == "setup":
        run(engine.setup())
    elif args.command == "work":
        global _record
        _record = Record(args.record)
        engine.work()
    else:
        run(_client(engine, args))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _client(engine: Engine, args: argparse.Namespace) -> None:
    record = Record(args.record)
    first, count = args.first, args.count
    async with engine.client() as client:
        if args.command == "wait":
            await _ended(client, record, first, count)
            _tell(completed=time.monotonic())
            return
        await _at_once(client, iter(range(first, first + args.warm_up)))
        if not args.leave:
            await _ended(client, record, first, args.warm_up)
        print(BEGIN, flush=True)
        first += args.warm_up
        began, cpu = time.monotonic(), time.process_time()
        indexes = iter(range(first, first + count))
        if args.every:
            submits = await _paced(client, indexes, args.every)
        else:
            submits = await _at_once(client, _until(indexes, began + args.seconds) if args.seconds else indexes)
        submitted, cpu = time.monotonic(), time.process_time() - cpu
        if not args.leave:
            await _ended(client, record, first, len(submits))
        _tell(
            began=began,
            submitted=submitted,
            completed=time.monotonic(),
            cpu=cpu,
            submits=[duration for _, _, duration in submits],
            pickups=[] if args.leave else [record[index] - begin for index, begin, _ in submits],
        )


async def _at_once(client: Client, indexes: Iterator[int]) -> list[tuple[int, float, float]]:
    """Submit with 20 clients that wait for each answer. Return number, start and duration of each submit."""
    submits: list[tuple[int, float, float]] = []

    async def submit() -> None:
        for index in indexes:
            submits.append(await _submit(client, index))  # noqa: PERF401 - all clients append to one list

    await asyncio.gather(*(submit() for _ in range(CLIENTS)))
    return submits


async def _paced(client: Client, indexes: Iterator[int], every: float) -> list[tuple[int, float, float]]:
    """Submit at fixed times, however long earlier submits take."""
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
    """Wait until all jobs have started, by the record in shared memory. Then wait until the engine has recorded their ends."""
    waiting = first
    async with asyncio.timeout(DEADLINE_SECONDS):
        while waiting < first + count:
            if record[waiting]:
                waiting += 1
            else:
                await asyncio.sleep(GLANCE_SECONDS)
        while await client.unfinished():  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(GLANCE_SECONDS)


def _tell(**result: object) -> None:
    print(f"{RESULT}{json.dumps(result)}", flush=True)
