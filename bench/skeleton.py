"""`python -m bench.skeleton`: processor time of an enable without our code, the floor of its topology.

It has the processes, calls, transactions and messages of an enable: HTTP, five gRPC calls, four transactions that write and one
that reads, two messages of JetStream and two of NATS. Each does the least: bytes instead of protobuf, one statement per
transaction, no TLS, signatures, retries, metrics or logs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import grpc
import nats
import psycopg
import uvicorn
import uvloop

from bench import cpu, http, load
from dev import subprocesses
from dev.embedded.nats_server import Nats
from dev.embedded.postgres import Postgres

LOADS = ((20.0, 400), (100.0, 1000))
"""Enables per second, and how many."""
ROLES = ("auth", "jobs", "demo", "worker", "gateway")
READY_SECONDS = 30.0
_MESSAGE = b"x" * 700
_BATCH = json.dumps([{"body": "A comment of a demo user on a video.", "author": f"author {n}"} for n in range(12)])
_TABLES = """
CREATE TABLE sessions (token bytea PRIMARY KEY, data bytea);
CREATE TABLE demo_modes (id bigint PRIMARY KEY, state text, key text UNIQUE, job bigint);
CREATE TABLE outbox (id bigserial PRIMARY KEY, payload bytea, delivered bool DEFAULT false);
CREATE TABLE items (id bigserial PRIMARY KEY, owner bigint, body text, author text, created_at timestamptz DEFAULT now());
CREATE INDEX ON items (owner, created_at);
CREATE TABLE jobs (id bigint PRIMARY KEY, state text, attempt int, payload bytea, result bytea);
CREATE INDEX ON jobs (state) WHERE state <> 'completed';
CREATE TABLE events (id bigserial PRIMARY KEY, job bigint, payload bytea);
INSERT INTO sessions VALUES ('token', 'data')
"""
_SESSION = "SELECT data FROM sessions WHERE token = 'token'"
_ACCEPT = """
WITH gone AS (DELETE FROM outbox WHERE delivered),
     mode AS (INSERT INTO demo_modes VALUES (%(id)s, 'enabling', %(id)s::bigint::text, %(id)s))
INSERT INTO outbox (payload) VALUES (%(payload)s), (%(payload)s)
"""
_SUBMIT = """
WITH job AS (INSERT INTO jobs VALUES (%(id)s, 'running', 1, %(payload)s))
INSERT INTO events (job, payload) VALUES (%(id)s, %(payload)s), (%(id)s, %(payload)s)
"""
_RUN = """
WITH mode AS (UPDATE demo_modes SET state = 'enabled' WHERE id = %(id)s AND job = %(id)s RETURNING id),
     rows AS (INSERT INTO items (owner, body, author)
              SELECT mode.id, row.body, row.author FROM mode, json_to_recordset(%(rows)s) row (body text, author text))
INSERT INTO outbox (payload) SELECT %(payload)s FROM mode
"""
_FINISH = """
WITH job AS (UPDATE jobs SET state = 'completed', result = %(payload)s WHERE id = %(id)s AND attempt = 1 RETURNING id)
INSERT INTO events (job, payload) SELECT id, %(payload)s FROM job
"""

Unary = Callable[[bytes], Awaitable[bytes]]


class Process:
    """One process: a connection of each kind, and what it serves."""

    def __init__(self, ports: Mapping[str, Any]) -> None:
        self._ports = ports
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect to PostgreSQL and NATS."""
        self._conn = await psycopg.AsyncConnection.connect(
            self._ports["postgres"], autocommit=True, prepare_threshold=0
        )
        self._nats = await nats.connect(self._ports["nats"])
        self._stream = self._nats.jetstream()

    def call(self, service: str, method: str) -> Unary:
        """Return a method of a service as a function of bytes."""
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._ports[service]}")
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/repruv/{method}")
        return stub

    async def serve(self, service: str, **methods: Unary) -> None:
        """Serve methods until the process ends."""

        def handler(method: Unary) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def handle(request: bytes, _: object) -> bytes:
                return await method(request)

            return grpc.unary_unary_rpc_method_handler(handle)

        server = grpc.aio.server()
        handlers = {name: handler(method) for name, method in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("repruv", handlers),))
        server.add_insecure_port(f"127.0.0.1:{self._ports[service]}")
        await server.start()
        await server.wait_for_termination()

    async def execute(self, query: LiteralString, **parameters: Any) -> None:
        """Execute a statement in a transaction of its own."""
        await self._conn.execute(query, parameters, prepare=True)

    def start(self, action: Awaitable[Any]) -> None:
        """Run something beside the answer."""
        task = asyncio.ensure_future(action)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def auth(self) -> None:
        """Serve `validate`."""

        async def validate(_: bytes) -> bytes:
            await self.execute(_SESSION)
            return _MESSAGE

        await self.serve("auth", validate=validate)

    async def demo(self) -> None:
        """Serve `enable`: accept, answer, then submit the job and publish the event."""
        submit = self.call("jobs", "submit")

        async def enable(request: bytes) -> bytes:
            await self.execute(_ACCEPT, id=int(request), payload=_MESSAGE)
            self.start(submit(request))
            self.start(self._stream.publish("demo.events", _MESSAGE))
            return _MESSAGE

        await self.serve("demo", enable=enable)

    async def jobs(self) -> None:
        """Serve `submit`, `claim` and `finish`."""
        waiting: asyncio.Queue[bytes] = asyncio.Queue()

        async def submit(request: bytes) -> bytes:
            await self.execute(_SUBMIT, id=int(request), payload=_MESSAGE)
            waiting.put_nowait(request)
            await self._nats.publish("jobs.events", _MESSAGE)
            return _MESSAGE

        async def claim(_: bytes) -> bytes:
            return await waiting.get()

        async def finish(request: bytes) -> bytes:
            await self.execute(_FINISH, id=int(request), payload=_MESSAGE)
            await self._nats.publish("jobs.events", _MESSAGE)
            return _MESSAGE

        await self.serve("jobs", submit=submit, claim=claim, finish=finish)

    async def worker(self) -> None:
        """Claim jobs and run each."""
        claim, finish = self.call("jobs", "claim"), self.call("jobs", "finish")

        async def run(job: bytes) -> None:
            await self.execute(_RUN, id=int(job), rows=_BATCH, payload=_MESSAGE)
            self.start(self._stream.publish("demo.events", _MESSAGE))
            await finish(job)

        while True:
            self.start(run(await claim(b"")))

    async def gateway(self) -> None:
        """Serve HTTP: validate the session, and enable."""
        validate, enable = self.call("auth", "validate"), self.call("demo", "enable")

        async def ignore(_: object) -> None:
            """Receive an event that nobody reads."""

        await self._nats.subscribe("*.events", cb=ignore)

        async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            message = await receive()
            await validate(_MESSAGE)
            await enable(str(json.loads(message["body"])["id"]).encode())
            headers = [(b"content-type", b"application/json"), (b"content-length", b"700")]
            await send({"type": "http.response.start", "status": 202, "headers": headers})
            await send({"type": "http.response.body", "body": _MESSAGE})

        config = uvicorn.Config(
            app,
            port=self._ports["gateway"],
            lifespan="off",
            access_log=False,
            log_level="error",
            timeout_keep_alive=600,
        )
        await uvicorn.Server(config).serve()


async def _serve(role: str, ports: Mapping[str, Any]) -> None:
    process = Process(ports)
    await process.open()
    await getattr(process, role)()


@contextlib.contextmanager
def _servers() -> Iterator[tuple[Postgres, Nats, Mapping[str, Any]]]:
    with (
        tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory,
        Postgres(Path(directory) / "postgres", password="bench").temporary() as postgres,  # noqa: S106 - a server of this run
        Nats(Path(directory) / "nats", password="bench").temporary() as server,  # noqa: S106 - a server of this run
    ):
        with psycopg.connect(postgres.url, autocommit=True) as conn:
            conn.execute(_TABLES)
        ports: dict[str, Any] = {role: subprocesses.free_port() for role in ROLES}
        yield postgres, server, {**ports, "postgres": postgres.url, "nats": server.url}


async def _add_stream(url: str) -> None:
    connection = await nats.connect(url)
    await connection.jetstream().add_stream(name="DEMO", subjects=["demo.events"])
    await connection.close()


@contextlib.contextmanager
def _processes(ports: Mapping[str, Any]) -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "bench.skeleton", "--ports", json.dumps(ports)]
    running = {role: subprocess.Popen([*command, role]) for role in ROLES}
    try:
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.wait()


class _Skeleton:
    """The running processes and their load."""

    def __init__(
        self, postgres: Postgres, server: Nats, processes: Mapping[str, subprocess.Popen[bytes]], port: int
    ) -> None:
        self._postgres = postgres
        self._processes = processes
        self._server = server
        self._client = http.Client(f"http://127.0.0.1:{port}")
        self._ids = iter(range(1_000_000))

    async def enable(self, _: int) -> None:
        await self._client.request("POST", "/", expected=202, body={"id": next(self._ids)})

    async def measure(self, rate: float, count: int) -> str:
        """Offer a load; return its cost in one line."""
        async with await psycopg.AsyncConnection.connect(self._postgres.url, autocommit=True) as conn:
            await load.offer(self.enable, rate=20.0, count=40)
            await _finished(conn)
            before = self._processor_seconds()
            offered = await load.offer(self.enable, rate=rate, count=count)
            await _finished(conn)
        costs = {name: (end - before[name]) * 1000 / count for name, end in self._processor_seconds().items()}
        parts = ", ".join(f"{name} {cost:.1f}" for name, cost in sorted(costs.items(), key=lambda item: -item[1]))
        failed = f"; {len(offered.failures)} failed: {offered.failures[0]!r}" if offered.failures else ""
        return f"{rate:.0f}/s: {sum(costs.values()):.1f} processor ms per enable ({parts}){failed}"

    def _processor_seconds(self) -> dict[str, float]:
        pids = {role: [process.pid] for role, process in self._processes.items()}
        pids |= {"postgres": cpu.tree(self._postgres.pid), "nats": cpu.tree(self._server.pid)}
        return {name: cpu.processor_seconds(process_ids) for name, process_ids in pids.items()}


async def _finished(conn: psycopg.AsyncConnection) -> None:
    unfinished = "SELECT FROM jobs WHERE state <> 'completed' LIMIT 1"
    async with asyncio.timeout(READY_SECONDS):
        while await (await conn.execute(unfinished)).fetchall():  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.02)


async def _measure() -> None:
    with _servers() as (postgres, server, ports):
        await _add_stream(ports["nats"])
        with _processes(ports) as processes:
            skeleton = _Skeleton(postgres, server, processes, ports["gateway"])
            await _ready(skeleton.enable)
            for rate, count in LOADS:
                print(await skeleton.measure(rate, count))


async def _ready(enable: Callable[[int], Awaitable[None]]) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                return await enable(0)
            except Exception:  # noqa: BLE001 - the processes are starting
                await asyncio.sleep(0.2)


def main() -> None:
    """Measure, or be one of the processes."""
    parser = argparse.ArgumentParser(prog="python -m bench.skeleton", description=__doc__)
    parser.add_argument("role", nargs="?", choices=ROLES)
    parser.add_argument("--ports", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.role, arguments.ports) if arguments.role else _measure())


if __name__ == "__main__":
    main()
