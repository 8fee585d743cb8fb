"""The embedded servers start, stop, survive kills, and never outlive their launcher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest

from dev import subprocesses
from dev.embedded import EmbeddedServers, Nats, Postgres, ServerFailed, postgres
from dev.embedded.nats_server import Protection
from dev.launcher import certificates
from provision import keys

ROOT = Path(__file__).parent.parent.parent.parent

LAUNCHER = """
import sys
from pathlib import Path
from dev.embedded import EmbeddedServers, Nats, Postgres
directory, postgres_port, nats_port, password = sys.argv[1:]
EmbeddedServers(
    postgres=Postgres(Path(directory), int(postgres_port), password=password),
    nats=Nats(Path(directory), int(nats_port), password="token"),
).start()
print("up", flush=True)
sys.stdin.read()
"""


def test_a_new_cluster_has_the_database_and_durable_settings(servers: EmbeddedServers) -> None:
    servers.postgres.start()
    with psycopg.connect(servers.postgres.url) as connection:
        names = "server_version_num", "fsync", "synchronous_commit", "TimeZone", "jit", "max_connections"
        settings = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in names}  # type: ignore[index]
    assert settings.pop("server_version_num").startswith("18")
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "jit": "off",
        "max_connections": "200",
    }


def test_a_wrong_password_is_refused(servers: EmbeddedServers) -> None:
    servers.postgres.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(servers.postgres.url_for("postgres", "wrong"))


def test_wrong_cluster_password_fails_at_once(servers: EmbeddedServers) -> None:
    servers.postgres.start()
    servers.postgres.stop()
    with pytest.raises(ServerFailed, match="has another password"):
        Postgres(servers.postgres.data_dir, password="other").start()


def test_postgres_keeps_committed_rows_over_kill_and_restart(servers: EmbeddedServers) -> None:
    postgres = servers.postgres
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    with psycopg.connect(postgres.url):  # a client is connected while it dies
        postgres.kill()
    assert postgres.pid is None
    postgres.start()
    postgres.restart()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_postgres_starts_over_a_stale_pid_file_that_names_a_living_process(servers: EmbeddedServers) -> None:
    postgres = servers.postgres
    postgres.start()
    pid_file = postgres.home() / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.kill()
    bystander = subprocesses.spawn(
        ["sleep", "60"],
        environment={},
        directory=Path("/"),
        death_signal=signal.SIGKILL,
        output=subprocess.DEVNULL,
        user=postgres.user,
    )
    try:
        pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]))
        postgres.start()
        assert bystander.poll() is None
    finally:
        subprocesses.kill(bystander)


async def test_nats_keeps_acknowledged_messages_over_kill(servers: EmbeddedServers) -> None:
    servers.nats.start()
    client = await nats.connect(servers.nats.url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"1")
    await client.close()
    servers.nats.kill()
    servers.nats.start()
    client = await nats.connect(servers.nats.url)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()


def test_engines_die_with_a_killed_launcher_and_start_again(servers: EmbeddedServers) -> None:
    postgres, nats_server = servers.postgres, servers.nats
    postgres.stop()
    nats_server.stop()
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LAUNCHER,
            postgres.data_dir,
            str(postgres.port),
            str(nats_server.port),
            postgres.password,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"up\n"
        launcher.kill()
    # Each start waits until the last process of its predecessor is gone, or else fails.
    servers.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_second_one_on_the_same_directory_is_refused(servers: EmbeddedServers) -> None:
    servers.postgres.start()
    with pytest.raises(ServerFailed, match="another one still runs"):
        Postgres(servers.postgres.data_dir, password=servers.postgres.password).start(timeout=0.2)


def test_a_failure_shows_the_end_of_the_log(servers: EmbeddedServers) -> None:
    servers.postgres.start()
    servers.postgres.stop()
    version = servers.postgres.home() / "cluster" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9.6\n")
    with pytest.raises(ServerFailed, match="incompatible"):
        servers.postgres.start()
    version.write_text(right)


def test_postgres_never_runs_as_root(servers: EmbeddedServers) -> None:
    servers.postgres.start()
    assert servers.postgres.pid is not None
    owner = Path(f"/proc/{servers.postgres.pid}").stat().st_uid
    assert owner != 0
    assert owner == os.geteuid() or os.geteuid() == 0


def test_processes_that_copy_the_programs_at_once_share_one_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, home = tmp_path / "site-packages" / postgres.PACKAGE / postgres.INSTALLATION, tmp_path / "home"
    (installed / "bin").mkdir(parents=True)
    (installed / "bin" / "postgres").touch()
    home.mkdir()
    monkeypatch.setattr(postgres, "SYSTEM_HOME", home)
    copytree, barrier = shutil.copytree, threading.Barrier(2, timeout=60)

    def copy_together(*args: Any, **options: Any) -> Any:
        barrier.wait()
        return copytree(*args, **options)

    monkeypatch.setattr(shutil, "copytree", copy_together)
    with ThreadPoolExecutor(2) as processes:
        first, second = processes.map(postgres._copy_installation, [installed, installed])
    assert first == second
    assert (first / "bin" / "postgres").exists()
    assert len(list(home.iterdir())) == 1


def test_nats_reads_its_certificate_below_a_folder_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / 'my "own" projects'
    certificates.make(folder)
    protection = Protection(
        certificate=certificates.load_certificate(folder, "nats"), passwords=dict.fromkeys(keys.NATS_PASSWORDS, "p")
    )
    with Nats(folder, protection=protection).temporary() as server:
        assert server.pid
