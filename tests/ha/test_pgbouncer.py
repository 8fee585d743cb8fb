"""All services behind PgBouncer in transaction mode, with fewer connections to PostgreSQL than they have to PgBouncer."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis import postgres, prepared
from dev import subprocesses
from dev.embedded import Postgres
from dev.launcher.stack import ROOT, Stack
from tests.acceptance.system import WORKER, System
from tests.ha.conftest import TheLoad

SETTINGS = ROOT / "deploy" / "pgbouncer" / "settings.ini"
POOL_SIZE = 4
START_SECONDS = 30.0
LOAD_SECONDS = 20.0
SERVICES = ("auth", "demo", "jobs")
PROCESSES = ("auth", "auth-worker", "jobs", "demo", WORKER)


@contextmanager
def pgbouncer(server: Postgres, passwords: dict[str, str]) -> Iterator[int]:
    """Run PgBouncer in front of a server and return its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.fail("install PgBouncer first (Debian: apt-get install pgbouncer)", pytrace=False)
    home = server.home() / "pgbouncer"
    home.mkdir()
    shutil.copy(SETTINGS, home)  # its account may lack access to ours
    port = subprocesses.free_port()
    (home / "users.txt").write_text("".join(f'"{user}" "{password}"\n' for user, password in passwords.items()))
    (home / "pgbouncer.ini").write_text(f"""
[databases]
repruv = host=127.0.0.1 port={server.port}
[pgbouncer]
%include {home / SETTINGS.name}
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_file = {home / "users.txt"}
default_pool_size = {POOL_SIZE}
""")
    with (home / "log").open("wb") as log:
        process = subprocesses.spawn(
            [program, home / "pgbouncer.ini"],
            environment={"PATH": os.environ["PATH"]},
            directory=home,
            death_signal=signal.SIGKILL,
            output=log.fileno(),
            user=server.user,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocesses.is_port_free(port):
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        subprocesses.stop(process, request=signal.SIGTERM, grace=5.0)
        print((home / "log").read_text()[-2000:])


@pytest.fixture
async def pooled(tmp_path: Path) -> AsyncIterator[tuple[System, dict[str, str]]]:
    """A system whose processes connect to PgBouncer, and the URLs of the services' roles."""
    print(f"\nlines of all processes: {tmp_path / 'log'}")
    variables = {"PASSWORD_MEMORY_KIB": "1024", "REGISTRATIONS_PER_ADDRESS": "1000000", "DEMO_BATCH_PAUSE_MS": "40"}
    stack = Stack(tmp_path / "data", scale={WORKER: 2}, env=variables, log=tmp_path / "log")
    async with System(stack) as system:
        direct = {service: stack.environment(service)["DATABASE_URL"] for service in SERVICES}
        passwords = {service: str(sa.make_url(url).password) for service, url in direct.items()}
        server = stack.servers.postgres
        with pgbouncer(server, passwords) as port:
            urls = {
                service: url.replace(f":{server.port}/", f":{port}/") + "&pooler=transaction"
                for service, url in direct.items()
            }
            for name in PROCESSES:
                url = urls[name.removesuffix("-worker")]
                await asyncio.to_thread(stack.restart, name, env={"DATABASE_URL": url})
            yield system, urls


@pytest.mark.timeout(300)
async def test_everything_works_through_transaction_pooling(
    pooled: tuple[System, dict[str, str]], load: TheLoad
) -> None:
    system, urls = pooled
    async with load(system) as generated:
        await asyncio.sleep(LOAD_SECONDS / 2)
        await system.kill(WORKER, 0)
        await asyncio.sleep(LOAD_SECONDS / 2)
        await system.start(WORKER)
        counts = await system.query(
            "SELECT usename, count(*) FROM pg_stat_activity WHERE usename <> 'postgres' GROUP BY 1"
        )
    assert set(generated.answers) <= {"200", "202", "404", "409", "503"}
    for stream in generated.streams.values():
        stream.must_be_gap_free()
    connections = {row["usename"]: row["count"] for row in counts}
    print(f"connections to PostgreSQL: {connections}")
    assert connections.keys() == set(SERVICES)
    assert max(connections.values()) <= POOL_SIZE
    await _sessions_keep_nothing(urls["jobs"])
    await _limits_are_those_of_the_role(urls)


async def _sessions_keep_nothing(url: str) -> None:
    """Prepared statements, COPY, advisory locks and settings of transactions work on connections that change each time."""
    engine = postgres.engine(url, name="test-pooled", pool_size=20)
    statement = prepared.Prepared(sa.select(sa.bindparam("value", type_=sa.Integer) + 1))
    locked = sa.text("SELECT pg_advisory_xact_lock(42)")
    backend_pids: set[int] = set()

    async def use(number: int) -> None:
        for _ in range(10):
            async with engine.begin() as conn:
                await conn.execute(sa.text("SET LOCAL work_mem = '5MB'"))
                await conn.execute(locked)
                assert await statement.execute(conn, {"value": number}) == [(number + 1,)]
                backend_pids.add(await conn.scalar(sa.text("SELECT pg_backend_pid()")) or 0)
            async with postgres.autocommit(engine).connect() as conn:
                assert await statement.execute(conn, {"value": number}) == [(number + 1,)]
                assert await conn.scalar(sa.text("SHOW work_mem")) != "5MB"

    await asyncio.gather(*(use(number) for number in range(20)))
    assert len(backend_pids) > 1, "transactions ran on several connections"
    await engine.dispose()


async def _limits_are_those_of_the_role(urls: dict[str, str]) -> None:
    for service, expected in (("jobs", ["10s", "600ms", "2s"]), ("demo", ["10s", "3s", "15s"])):
        engine = postgres.engine(urls[service], name="test-pooled", pool_size=2)
        async with postgres.autocommit(engine).connect() as conn:
            names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
            assert [await conn.scalar(sa.text(f"SHOW {name}")) for name in names] == expected
        await engine.dispose()
