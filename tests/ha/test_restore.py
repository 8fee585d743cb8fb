"""The documented backup is restored to a point in time, and the running services continue on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from dev.embedded import Postgres
from dev.launcher.stack import ROOT, Stack
from tests.acceptance import invariants, waiting
from tests.acceptance.streams import Stream
from tests.acceptance.system import WORKER, System
from tests.acceptance.users import PASSWORD, User

SCRIPTS = ROOT / "deploy" / "postgres"
ENABLE = {"content_count": 10, "interaction_count": 200}


class Backups:
    """The directory of the backups of a server, and the scripts of deploy/postgres."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self.directory = server.home() / "backups"
        self._scripts = server.home() / "scripts"
        shutil.copytree(SCRIPTS, self._scripts)  # the account of the server may lack access to ours
        self.directory.mkdir()
        if server.user:
            os.chown(self.directory, server.user.uid, server.user.gid)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "base").iterdir())

    @property
    def archive_command(self) -> str:
        return f"BACKUPS={self.directory} sh {self._scripts / 'archive'} %p %f"

    def run(self, script: str, *arguments: str) -> None:
        """Run a script as an operator would on the host of the server."""
        variables = {
            "PATH": f"{self._server.program('postgres').parent}:{os.environ['PATH']}",
            "BACKUPS": str(self.directory),
            "PGDATA": str(self._server.cluster),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self._server.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self._server.password,
        }
        self._server.run_tool(["sh", self._scripts / script, *arguments], variables)


@pytest.mark.timeout(400)
async def test_cluster_is_restored_to_a_point_in_time(tmp_path: Path) -> None:
    print(f"\nlines of all processes: {tmp_path / 'log'}")
    variables = {"PASSWORD_MEMORY_KIB": "1024", "REGISTRATIONS_PER_ADDRESS": "1000000"}
    stack = Stack(tmp_path / "data", scale={WORKER: 2}, env=variables, log=tmp_path / "log")
    async with System(stack) as system:
        await _drill(system, stack.servers.postgres)


async def _drill(system: System, server: Postgres) -> None:
    backups = Backups(server)
    _configure(server, backups.archive_command)
    await system.stop("postgres")
    await system.start("postgres")
    early, late = await User.register(system.url), await User.register(system.url)
    await early.enable(ENABLE)
    await early.wait_for_status("enabled")
    for _ in range(3):
        backups.run("backup")
    assert len(backups.names) <= 2, "older backups are deleted"
    await late.enable(ENABLE)
    await late.wait_for_status("enabled")
    await invariants.wait_for_quiet(system)
    point = (await system.query("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.US TZ') AS point"))[0][
        "point"
    ]
    async with Stream(late) as stream:
        job_id = await late.disable()
        cursor = (await stream.tells_end(job_id, "completed")).id
        newcomer = await User.register(system.url)
        await system.execute("DROP TABLE demo.interactions, jobs.job_events CASCADE")
        await _archive_everything(system)

        await system.stop("postgres")
        shutil.rmtree(server.cluster)
        backups.run("restore", point)
        await system.start("postgres")
        await waiting.until(lambda: _accepts_writes(system), "recovery has ended", seconds=60.0)
        await waiting.until(system.is_healthy, "the services run on the restored cluster", seconds=60.0)

        for user in (early, late):
            await user.wait_for_status("enabled")
            assert len(await user.read_all("/interactions", "interactions")) == ENABLE["interaction_count"]

        async def is_signed_out() -> bool:
            return (await newcomer.get("/demo/status")).status_code == 401

        # Gateways cache a session for a minute.
        await waiting.until(is_signed_out, "accounts after the point are gone", seconds=120.0)
        answer = await newcomer.post("/auth/login", json={"email": newcomer.email, "password": PASSWORD})
        assert answer.status_code == 401
        for user in (early, late):
            await user.disable()
            await user.wait_for_status("disabled")
        await stream.has("reset")
        assert stream.must_be_gap_free_or_reset() >= 1
    async with Stream(late, cursor=str(cursor)) as resumed:
        await resumed.has("reset")
    await invariants.wait_for_quiet(system)
    await invariants.must_hold(system)
    backups.run("backup")
    for user in (early, late, newcomer):
        await user.close()


def _configure(server: Postgres, archive_command: str) -> None:
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
        connection.execute(f"ALTER SYSTEM SET archive_command = '{archive_command}'")


async def _archive_everything(system: System) -> None:
    """Wait until the log up to now is archived."""
    rows = await system.query("SELECT pg_walfile_name(pg_switch_wal()) AS name")
    name = rows[0]["name"]

    async def is_archived() -> bool:
        rows = await system.query("SELECT last_archived_wal >= %s AS done FROM pg_stat_archiver", name)
        return bool(rows[0]["done"])

    await waiting.until(is_archived, f"{name} is archived", seconds=60.0)


async def _accepts_writes(system: System) -> bool:
    try:
        return bool(await system.query("SELECT true"))
    except psycopg.OperationalError:  # the connection asks for a server that accepts writes
        return False
