"""PostgreSQL servers of this system, started by deploy/postgres/start as docker-compose.yml has it do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from chassis import tls
from dev import subprocesses

DEPLOYED = Path(__file__).parents[2] / "deploy" / "postgres"
STAND_IN = Path(__file__).with_name("docker-entrypoint.sh")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []


class Server:
    """A server on 127.0.0.1, with its data in a temporary directory."""

    def __init__(self, certificate: tls.Certificate) -> None:
        if not PROGRAMS:
            pytest.fail("install PostgreSQL first (Debian: apt-get install postgresql)", pytrace=False)
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
            "TLS_CERTIFICATE": str(certificate.certificate),
            "TLS_KEY": str(certificate.key),
            "TLS_CA": str(certificate.authority),
            "CERTIFICATE_COPY": str(self.home / "certificate"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return f"postgresql://postgres:p@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> str:
        """What the server and the scripts have said."""
        return (self.home / "log").read_text()

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

    def kill(self) -> None:
        """Kill the server."""
        self._end(signal.SIGKILL)

    def erase(self) -> None:
        """Stop the server and delete its data."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.home)

    def run(self, script: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
        """Run a script of deploy/postgres as the account `postgres`."""
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return subprocess.run(
            [*command, "sh", self.home / script],
            env={**self.environment, **variables},
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
