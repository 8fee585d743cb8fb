"""A running system that tests control: stop, kill and restart processes, query the databases."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, ParamSpec, Self, TypeVar

import httpx
import psycopg
from psycopg import rows

from chassis import tls
from dev import subprocesses
from dev.embedded.server import EmbeddedServer
from dev.launcher.control import Control
from dev.launcher.stack import Stack
from tests.acceptance import waiting

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

WORKER = "demo-worker"
POLL_SECONDS = 0.2


class System:
    """A stack that tests disturb and restore. The context manager starts it, and erases it at the end.

    The blocking calls of the stack run in one thread, so clients continue meanwhile.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stack")

    async def __aenter__(self) -> Self:
        await self._do(self._stack.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._do(self._stack.erase)
        self._thread.shutdown()

    @property
    def url(self) -> str:
        """The URL of the first gateway."""
        return self._stack.url

    @property
    def urls(self) -> list[str]:
        """The URL of each gateway."""
        return self._stack.urls

    @property
    def data_dir(self) -> Path:
        """The directory of the data and the secrets."""
        return self._stack.data_dir

    def target(self, name: str) -> str:
        """The gRPC target of a service."""
        return self._stack.target(name)

    def certificate(self, name: str) -> tls.Certificate:
        """The certificate of a service."""
        return self._stack.certificate(name)

    @property
    def servers(self) -> dict[str, EmbeddedServer]:
        """PostgreSQL and NATS servers by name."""
        return self._stack.servers.by_name

    @property
    def processes(self) -> list[str]:
        """The names of our own processes."""
        return self._stack.names

    @property
    def metrics_addresses(self) -> dict[str, list[str]]:
        """The `host:port` of the metrics of each replica, by process."""
        return self._stack.metrics_addresses

    def count(self, name: str) -> int:
        """The number of replicas of a part."""
        return 1 if name in self.servers else self._stack.count(name)

    def pids(self, name: str) -> list[int]:
        """The process ids of the running replicas of a process or engine."""
        if name in self.servers:
            return [pid] if (pid := self.servers[name].pid) else []
        return self._stack.pids(name)

    async def start(self, name: str, index: int | None = None, *, wait: bool = True, **variables: str) -> None:
        """Start a part that is down and wait until it is ready. Later starts have `variables` too. Engines ignore all options."""
        if name in self.servers:
            await self._do(self.servers[name].start)
        else:
            await self._do(lambda: self._stack.start_process(name, index, wait=wait, env=variables))

    async def stop(self, name: str, index: int | None = None) -> None:
        """Stop a part with SIGTERM; it stays down."""
        if name in self.servers:
            await self._do(self.servers[name].stop)
        else:
            await self._do(self._stack.stop_process, name, index)

    async def kill(self, name: str, index: int | None = None) -> None:
        """Kill a part with SIGKILL; it stays down."""
        if name in self.servers:
            await self._do(self.servers[name].kill)
        else:
            await self._do(self._stack.kill, name, index)

    def signal(self, name: str, number: signal.Signals, index: int = 0) -> int | None:
        """Send a signal to the process; return its id, or None if it does not run."""
        pids = self.pids(name)
        if index >= len(pids):
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[index], number)
        return pids[index]

    def resume(self, pid: int | None) -> None:
        """Resume a paused process; no error if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGCONT)

    async def erase(self, name: str) -> None:
        """Stop an engine and delete all its data."""
        await self._do(self.servers[name].erase)

    @property
    def primary(self) -> str:
        """The name of the PostgreSQL server that accepts writes."""
        return self._stack.servers.pair.primary.name

    async def promote(self) -> None:
        """Make the standby the primary."""
        await self._do(self._stack.servers.pair.promote)

    async def restart_dead_servers(self) -> None:
        """Restart dead servers as the launcher does."""
        await self._do(self._stack.servers.restart_dead_servers)

    @asynccontextmanager
    async def down(self, name: str, index: int | None = None) -> AsyncIterator[None]:
        """Keep a part stopped while the context lasts."""
        await self.stop(name, index)
        try:
            yield
        finally:
            await self.start(name, index)

    @asynccontextmanager
    async def paused_kinds(self, *kinds: str) -> AsyncIterator[None]:
        """Pause kinds while the context lasts: no worker claims their jobs. Cheaper than a restart of workers."""
        pause = "INSERT INTO jobs.kinds (kind, paused_at) SELECT unnest(%s::text[]), now()"
        await self.execute(f"{pause} ON CONFLICT (kind) DO UPDATE SET paused_at = now()", list(kinds))
        try:
            yield
        finally:
            await self.execute("UPDATE jobs.kinds SET paused_at = NULL WHERE kind = ANY(%s)", list(kinds))

    @asynccontextmanager
    async def hurried_workers(self) -> AsyncIterator[None]:
        """Run all workers without pauses while the context lasts, so that a long job soon ends.

        They are killed: a worker that stops would go on with its job for its grace period.
        """
        await self.kill(WORKER)
        async with self.workers(DEMO_BATCH_PAUSE_MS="0"):
            yield

    def workers(self, **variables: str) -> AbstractAsyncContextManager[None]:
        """Run all workers with these environment variables while the context lasts."""
        return self.with_settings(WORKER, **variables)

    @asynccontextmanager
    async def with_settings(self, name: str, **variables: str) -> AsyncIterator[None]:
        """Run a process with these environment variables while it lasts. Raises `ValueError` for one it does not read."""
        before = self._stack.environment(name)
        if unknown := sorted(variables.keys() - before.keys()):
            raise ValueError(f"docker-compose.yml gives {name} no {', '.join(unknown)}")
        await self._do(lambda: self._stack.restart(name, env=variables))
        try:
            yield
        finally:
            restored = {variable: before[variable] for variable in variables}
            await self._do(lambda: self._stack.restart(name, env=restored))

    @asynccontextmanager
    async def controlled_by(self, control: Control) -> AsyncIterator[None]:
        """Execute requests of the control endpoint while the context lasts, as `make up` does; then restore all parts."""
        stop, never = subprocesses.Flag(), subprocesses.Flag()

        def run_requests() -> None:
            while not (stop.is_set() and control.is_settled()):
                control.run_pending(self._stack, never, seconds=POLL_SECONDS)

        requests = asyncio.ensure_future(self._do(run_requests))
        try:
            yield
        finally:
            control.speed_up()
            stop.set()
            await requests
            await self.restore()

    def worker_index(self, worker: str) -> int:
        """Return the replica that a worker's name (…-<host>-<pid>-<random>) belongs to."""
        return self._stack.pids(WORKER).index(int(worker.rsplit("-", 2)[1]))

    async def is_healthy(self) -> bool:
        """Whether every process runs and the gateway finds all services and NATS."""
        names = [*self.servers, *self.processes]
        if any(len(self.pids(name)) != self.count(name) for name in names):
            return False
        return all([await _is_ready(url) for url in self.urls])

    async def restore(self) -> None:
        """Resume paused processes, start stopped ones, and wait until all are ready."""
        for name in (*self.servers, *self.processes):
            for index in range(len(self.pids(name))):
                self.signal(name, signal.SIGCONT, index)
        for name in (*self.servers, *self.processes):
            await self.start(name)
        await waiting.until(self.is_healthy, "the system is healthy", seconds=60.0)

    def nats_url_of(self, user: str) -> str:
        """The URL of NATS for a service, without proxies."""
        return self._stack.nats_url(user)

    def superuser_url(self) -> str:
        """The URL of the database for the superuser, without proxies."""
        return self._stack.database_url()

    async def query(self, statement: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """Run a query as the superuser; return its rows."""
        url = self._stack.database_url()
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=5, row_factory=rows.dict_row) as conn:
            return await (await conn.execute(statement, parameters)).fetchall()

    async def execute(self, statement: LiteralString, *parameters: object) -> None:
        """Run a statement as the superuser, for example to move times into the past."""
        async with await psycopg.AsyncConnection.connect(self._stack.database_url(), connect_timeout=5) as conn:
            await conn.execute(statement, parameters)

    async def _do(
        self, call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **kwargs))


async def _is_ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(base_url=url, timeout=5.0) as client:
            answer = await client.get("/readyz")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and bool(answer.json()["nats"])
