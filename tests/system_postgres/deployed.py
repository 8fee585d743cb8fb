"""PostgreSQL servers of this system, started by deploy/postgres/start as docker-compose.yml has it do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest

from chassis import database_url, tls
from dev import subprocesses
from provision import roles

Certificates = Callable[[str], tls.Certificate]
SECONDS = 120.0

DEPLOYED = Path(__file__).parents[2] / "deploy" / "postgres"
STAND_IN = Path(__file__).with_name("docker-entrypoint.sh")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []


class Server:
    """A server on 127.0.0.1, with its data in a temporary directory."""

    def __init__(self, certificates: Certificates) -> None:
        if not PROGRAMS:
            pytest.fail("install PostgreSQL first (Debian: apt-get install postgresql)", pytrace=False)
        certificate = certificates("postgres")
        self._client = certificates("provision")
        self.home = Path(tempfile.mkdtemp(prefix="repruv-deployed-"))
        self.home.chmod(0o755)  # the server's account reads the scripts in it
        for file in (*DEPLOYED.iterdir(), STAND_IN):
            shutil.copy(file, self.home)
        self.port = subprocesses.free_port()
        self.environment = {
            "PATH": f"{self.home}:{PROGRAMS[-1]}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "PGDATA": str(self.home / "data"),
            "PORT": str(self.port),
            "POSTGRES_PASSWORD": "p",
            "POSTGRES_DB": "postgres",
            "TLS_CERTIFICATE": str(certificate.certificate),
            "TLS_KEY": str(certificate.key),
            "TLS_CA": str(certificate.authority),
            "CERTIFICATE_COPY": str(self.home / "certificate"),
            "BACKUPS": str(self.home / "backups"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return f"postgresql://postgres:p@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> str:
        """What the server and the scripts have said."""
        path = self.home / "log"
        return path.read_text() if path.exists() else ""

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start the server; it need not answer yet."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.home / "data"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [
            "sh", DEPLOYED.parent / "with-certificate", "sh", self.home / "start", "-c", "fsync=off", *options,
        ]  # fmt: skip
        environment = {**self.environment, **(variables or {})}
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.home, env=environment, stdout=log, stderr=log)

    def connect(self) -> psycopg.Connection:
        """Connect as the superuser, whatever the server's role."""
        url = database_url.complete(f"{self.url}?target_session_attrs=any", self._client)
        return psycopg.connect(url, connect_timeout=5, autocommit=True)

    def kept_rows(self) -> list[int]:
        """Return the numbers in the table `kept`, which tests create."""
        with self.connect() as connection:
            return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]

    def await_answer(self, query: str) -> None:
        """Wait until the server answers the query with a row."""
        roles.await_database(
            database_url.complete(f"{self.url}?target_session_attrs=any", self._client), seconds=SECONDS
        )
        deadline = time.monotonic() + SECONDS
        while True:
            with self.connect() as connection:
                if connection.execute(query.encode()).fetchone():
                    return
            assert time.monotonic() < deadline, f"no row within {SECONDS:g} s: {query}"
            time.sleep(0.1)

    def await_end(self) -> int:
        """Wait until the container has ended, and return its exit code."""
        assert self._process is not None
        code = self._process.wait(SECONDS)
        self._process = None
        return code

    def stop(self) -> None:
        """Shut the server down."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server."""
        self._end(signal.SIGKILL)

    def lose_data(self) -> None:
        """Empty its data directory, as a new disk is."""
        for path in Path(self.environment["PGDATA"]).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def recover_for_ever(self, variables: Mapping[str, str]) -> None:
        """Start the server and let it recover without end. Return when it rejects clients for that reason."""
        data = Path(self.environment["PGDATA"])
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'echo recovers >&2; sleep 120'\n")
        (data / "recovery.signal").touch()
        self.start(variables)
        self.await_log("recovers")

    def replace_program(self, name: str, script: str) -> None:
        """Let the scripts run `script` instead of a program of PostgreSQL, which is $PROGRAM for it."""
        (self.home / name).write_text(f"#!/bin/sh\nPROGRAM={PROGRAMS[-1] / name}\n{script}\n")
        (self.home / name).chmod(0o755)

    def restore_programs(self) -> None:
        """Undo `replace_program`."""
        for program in PROGRAMS[-1].iterdir():
            (self.home / program.name).unlink(missing_ok=True)

    def await_log(self, text: str) -> None:
        """Wait until the server or its scripts have said `text`."""
        deadline = time.monotonic() + SECONDS
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text} is not in the log within {SECONDS:g} s"
            time.sleep(0.1)

    def erase(self) -> None:
        """Stop the server and delete its data."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.home)

    def run(
        self, script: str, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a script of deploy/postgres as the account `postgres`, as `docker compose exec` does."""
        socket = self.environment["PGDATA"]
        client = {"SOCKET": socket, "PGHOST": socket, "PGPORT": str(self.port), "PGUSER": "postgres"}
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return subprocess.run(
            [*command, "sh", self.home / script, *arguments],
            env={**self.environment, **client, **(variables or {})},
            cwd=self.home,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None
