"""Several worker processes behind one port: start, stop, replacement."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import resource
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx

from dev import subprocesses
from gateway.settings import Settings
from gateway.stream import hub
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.streaming import Event, opened

ROOT = Path(__file__).parent.parent.parent.parent
SECONDS = 180.0
WORKERS = 2
SOFT_LIMIT = 1_024
"""Open files that containers often begin with."""
Register = Callable[..., Awaitable[Account]]


@asynccontextmanager
async def started(config: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a gateway with workers; return the parent process."""
    variables = {field.name.upper(): str(getattr(config, field.name)) for field in dataclasses.fields(config)}
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "protos" / "gen")))
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": paths,
        "GATEWAY_WORKERS": str(WORKERS),
        "LOG_LEVEL": "warning",
    }
    command = shlex.join([sys.executable, "-m", "gateway", "serve"])
    process = await asyncio.create_subprocess_exec(
        *subprocesses.dying_with_parent(signal.SIGKILL),
        *("/bin/sh", "-c", f"ulimit -S -n {SOFT_LIMIT}; exec {command}"),
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def running(config: Settings) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Start a gateway and wait until each worker serves; return its URL as well."""
    async with started(config) as process, asyncio.timeout(SECONDS):
        await until(lambda: len(workers_of(process.pid)) == WORKERS)
        for worker in workers_of(process.pid):
            await until(partial(listens, worker))
        yield f"http://{config.listen}", process


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.1)  # looking through /proc takes longer than the services of this process should wait


def workers_of(pid: int) -> list[int]:
    try:
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def listens(pid: int) -> bool:
    """Whether a process has a listening socket."""
    listening = {
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }
    pids = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            pids |= set(re.findall(r"socket:\[(\d+)\]", str(file.readlink())))
        except OSError:
            continue
    return bool(pids & listening)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def test_dead_worker_is_replaced_and_all_serve_and_end_together(
    gateway_settings: Callable[[], Settings], register: Register
) -> None:
    async with AsyncExitStack() as stack, running(gateway_settings()) as (url, process):
        account = await register(url)
        victim, other = workers_of(process.pid)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: victim not in workers_of(process.pid))
        async with httpx.AsyncClient(base_url=url, cookies=account.http.cookies) as client:
            assert (await client.get("/api/v1/auth/me")).status_code == 200
        await until(lambda: len(workers_of(process.pid)) == WORKERS)
        workers = workers_of(process.pid)
        assert other in workers
        for worker in workers:
            await until(partial(listens, worker))
            soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            assert soft >= min(hard, hub.MAX_STREAMS) > SOFT_LIMIT
        streams = [await stack.enter_async_context(opened(account.http)) for _ in range(12)]
        for stream in streams:
            await stream.next()
        # Any process reports for all.
        for _ in range(4):
            async with httpx.AsyncClient() as client:
                text = (await client.get(f"{url}/metrics")).text
            assert "\nstream_connections 12.0\n" in text
            assert "# TYPE process_cpu_seconds_total counter\n" in text
            for number in range(WORKERS):
                assert re.search(rf'\nprocess_resident_memory_bytes{{worker="{number}"}} [1-9]', text)
            # `rate` sees no increase in a counter that appears with its first event.
            assert '\nhttp_requests_total{method="POST",route="/demo/enable",status="500"} 0.0\n' in text
        process.send_signal(signal.SIGTERM)
        for stream in streams:
            assert (await stream.rest())[-1] == Event(name="bye", data={"reason": "draining"}, id=None)
        assert await process.wait() == 0
        assert not any(map(is_there, workers))


async def test_workers_do_not_outlive_their_parent(gateway_settings: Callable[[], Settings]) -> None:
    async with running(gateway_settings()) as (_, process):
        workers = workers_of(process.pid)
        process.kill()
        await process.wait()
        await until(lambda: not any(map(is_there, workers)))


async def test_taken_port_ends_the_process(gateway_settings: Callable[[], Settings], url: str) -> None:
    settings = dataclasses.replace(gateway_settings(), listen=url.removeprefix("http://"))
    async with started(settings) as process, asyncio.timeout(SECONDS):
        assert await process.wait() != 0
