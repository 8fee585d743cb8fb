"""Runs several gateway processes on one port, to use more than one processor.

The kernel deals connections out to them (SO_REUSEPORT). This process only starts them, starts those again that die, and
passes a stop on. Each has its own NATS connection, session cache, limits and streams, as replicas have.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import multiprocess

from chassis import run

logger = logging.getLogger(__name__)

METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The directory in which the processes share their metrics; `prometheus_client` reads the variable."""
STOP_SECONDS = 13.0
"""Longer than a process needs to stop; shorter than the 15 s of the container in Compose."""
PAUSES = (0.1, 5.0)
STABLE_SECONDS = 30.0
ORPHANED_SECONDS = 1.0
_PID = ".pid"


def is_one_of_several() -> bool:
    """Return whether this process shares its metrics with others."""
    return METRICS_DIRECTORY in os.environ


async def supervise(address: tuple[str, int], count: int, stop: asyncio.Event) -> None:
    """Keep `count` processes running until `stop` is set, then end them. Raises `OSError` when the port is taken."""
    with reserved(address), tempfile.TemporaryDirectory(prefix="gateway-metrics-") as directory:
        async with asyncio.TaskGroup() as workers:
            for number in range(count):
                workers.create_task(_keep(Path(directory), number, stop))


def pids() -> dict[str, int]:
    """Return the ids of the processes that run now, by the number that a process and its successors have."""
    files = Path(os.environ[METRICS_DIRECTORY]).glob(f"*{_PID}")
    return {file.stem: int(text) for file in sorted(files) if (text := _content(file))}


@contextlib.contextmanager
def reserved(address: tuple[str, int]) -> Iterator[None]:
    """Reserve the port while no worker runs. The socket is bound but does not listen, so it gets no connections."""
    with _socket(address):
        yield


def listener(address: tuple[str, int]) -> socket.socket:
    """Return a socket that shares the port with those of the other workers."""
    return _socket(address)


async def wait_until_orphaned() -> None:
    """Return once the parent process has ended."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(ORPHANED_SECONDS)


def _socket(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _content(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""  # its process has just ended


async def _keep(directory: Path, number: int, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    pause, longest = PAUSES
    while not stop.is_set():
        started_at = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "work", env={**os.environ, METRICS_DIRECTORY: str(directory)}
        )
        pid_file = directory / f"{number}{_PID}"
        try:
            pid_file.write_text(str(process.pid))
            await _wait_for_exit(process, stop)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            pid_file.unlink(missing_ok=True)
            multiprocess.mark_process_dead(process.pid, str(directory))  # type: ignore[no-untyped-call]
        if stop.is_set():
            return
        logger.error(
            "a process of the gateway ended unexpectedly", extra={"pid": process.pid, "status": process.returncode}
        )
        pause = PAUSES[0] if loop.time() - started_at > STABLE_SECONDS else min(pause * 2, longest)
        await run.wait(stop, pause)


async def _wait_for_exit(process: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    """Wait until the process has ended."""
    exited, stopping = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return
        process.terminate()
        await asyncio.wait({exited}, timeout=STOP_SECONDS)
        if not exited.done():
            logger.error("a process of the gateway does not end and is killed", extra={"pid": process.pid})
    finally:
        for task in (exited, stopping):
            task.cancel()
