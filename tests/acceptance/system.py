"""The running system in the hands of a test: processes stopped, killed and started again, databases looked into."""

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
TEND_SECONDS = 0.2


class System:
    """A stack that tests disturb and leave healthy; started and erased as a context manager.

    Its blocking calls run in one thread, so that clients go on meanwhile.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._hands = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stack")

    async def __aenter__(self) -> Self:
        await self._do(self._stack.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._do(self._stack.erase)
        self._hands.shutdown()

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return self._stack.url

    @property
    def urls(self) -> list[str]:
        """Where each gateway answers."""
        return self._stack.urls

    @property
    def data_dir(self) -> Path:
        """Where its data and its secrets are."""
        return self._stack.data_dir

    def target(self, name: str) -> str:
        """The gRPC target of a service."""
        return self._stack.target(name)

    def certificate(self, name: str) -> tls.Certificate:
        """The certificate of a service."""
        return self._stack.certificate(name)

    @property
    def servers(self) -> dict[str, EmbeddedServer]:
        """The engines by name."""
        return self._stack.servers.all

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
        """The ids of the running processes of this name."""
        if name in self.servers:
            return [pid] if (pid := self.servers[name].pid) else []
        return self._stack.pids(name)

    async def start(self, name: str, index: int | None = None, *, wait: bool = True, **variables: str) -> None:
        """Start the part if it is down, with these variables from now on. Wait until it is ready (engines always wait)."""
        if name in self.servers:
            await self._do(self.servers[name].start)
        else:
            await self._do(lambda: self._stack.start_process(name, index, wait=wait, env=variables))

    async def stop(self, name: str, index: int | None = None) -> None:
        """End it in order; it stays down."""
        if name in self.servers:
            await self._do(self.servers[name].stop)
        else:
            await self._do(self._stack.stop_process, name, index)

    async def kill(self, name: str, index: int | None = None) -> None:
        """End it by SIGKILL; it stays down."""
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

    async def tend(self) -> None:
        """Restart dead servers as the launcher does."""
        await self._do(self._stack.servers.tend)

    @asynccontextmanager
    async def down(self, name: str, index: int | None = None) -> AsyncIterator[None]:
        """Keep it stopped while the context lasts."""
        await self.stop(name, index)
        try:
            yield
        finally:
            await self.start(name, index)

    @asynccontextmanager
    async def paused_kinds(self, *kinds: str) -> AsyncIterator[None]:
        """Let no worker claim jobs of these kinds while the context lasts. Cheaper than workers that start again."""
        pause = "INSERT INTO jobs.kinds (kind, paused_at) SELECT unnest(%s::text[]), now()"
        await self.execute(f"{pause} ON CONFLICT (kind) DO UPDATE SET paused_at = now()", list(kinds))
        try:
            yield
        finally:
            await self.execute("UPDATE jobs.kinds SET paused_at = NULL WHERE kind = ANY(%s)", list(kinds))

    def workers(self, **variables: str) -> AbstractAsyncContextManager[None]:
        """Let all workers run with other variables while the context lasts."""
        return self.with_settings(WORKER, **variables)

    @asynccontextmanager
    async def with_settings(self, name: str, **variables: str) -> AsyncIterator[None]:
        """Let a process run with other variables while the context lasts."""
        before = self._stack.environment(name)
        await self._do(lambda: self._stack.restart(name, env=variables))
        try:
            yield
        finally:
            restored = {variable: before[variable] for variable in variables}
            await self._do(lambda: self._stack.restart(name, env=restored))

    @asynccontextmanager
    async def tended_by(self, control: Control) -> AsyncIterator[None]:
        """Let the system be broken by requests while the context lasts, as `make up` does. At its end all parts run again."""
        stop, never = subprocesses.Flag(), subprocesses.Flag()

        def tend() -> None:
            while not (stop.is_set() and control.is_settled()):
                control.tend(self._stack, never, seconds=TEND_SECONDS)

        tending = asyncio.ensure_future(self._do(tend))
        try:
            yield
        finally:
            control.speed_up()
            stop.set()
            await tending
            await self.heal()

    def worker_index(self, worker: str) -> int:
        """Return the replica that a worker's name (…-<host>-<pid>-<random>) belongs to."""
        return self._stack.pids(WORKER).index(int(worker.rsplit("-", 2)[1]))

    async def is_healthy(self) -> bool:
        """Whether every process runs and the gateway finds all services and NATS."""
        names = [*self.servers, *self.processes]
        if any(len(self.pids(name)) != self.count(name) for name in names):
            return False
        return all([await _is_ready(url) for url in self.urls])

    async def heal(self) -> None:
        """Resume paused processes, start stopped ones, and wait until all are ready."""
        for name in (*self.servers, *self.processes):
            for index in range(len(self.pids(name))):
                self.signal(name, signal.SIGCONT, index)
        for name in (*self.servers, *self.processes):
            await self.start(name)
        await waiting.until(self.is_healthy, "the system is healthy", seconds=60.0)

    def nats_url_of(self, user: str) -> str:
        """The URL of NATS for a service, past every proxy."""
        return self._stack.nats_url(user)

    def superuser_url(self) -> str:
        """The URL of the database for the superuser, past every proxy."""
        return self._stack.database_url()

    async def query(self, statement: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """Read as the superuser, past every service."""
        url = self._stack.database_url()
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=5, row_factory=rows.dict_row) as conn:
            return await (await conn.execute(statement, parameters)).fetchall()

    async def execute(self, statement: LiteralString, *parameters: object) -> None:
        """Run a statement as the superuser, for changes that otherwise take time."""
        async with await psycopg.AsyncConnection.connect(self._stack.database_url(), connect_timeout=5) as conn:
            await conn.execute(statement, parameters)

    async def _do(
        self, call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._hands, lambda: call(*args, **kwargs))


async def _is_ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(base_url=url, timeout=5.0) as client:
            answer = await client.get("/readyz")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and bool(answer.json()["nats"])
