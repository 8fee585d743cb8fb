"""The processes of the monolith: PostgreSQL, Redis, uvicorn and a Celery worker, started as their guides recommend."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.jobs import installed
from bench.jobs.redis import Redis
from dev import subprocesses
from dev.embedded import Postgres

PEERS = Path(__file__).parent
READY_SECONDS = 60.0
POLL_SECONDS = 0.1
STOP_SECONDS = 10.0
WORKER_PROCESSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Monolith:
    url: str
    postgres: Postgres
    redis: Redis
    api: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds of each process, with its children, since it started."""
        pids = {
            "api": self.api.pid,
            "celery": self.worker.pid,
            "postgres": self.postgres.pid,
            "redis": self.redis.pid,
        }
        return {name: cpu.processor_seconds(cpu.tree(pid)) for name, pid in pids.items()}


@contextlib.contextmanager
def running() -> Iterator[Monolith]:
    """Start a monolith on empty servers and delete everything afterwards. Raises `installed.Missing`."""
    programs = installed.environment("monolith", PEERS) / "bin"
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="repruv-monolith-")))
        postgres, redis = Postgres(directory, password=secrets.token_urlsafe(16)), Redis(directory)
        for engine in (postgres, redis):
            stack.enter_context(engine.temporary())
        port = subprocesses.free_port()
        environment = {
            "PATH": str(programs),
            "PYTHONPATH": str(PEERS),
            "MONOLITH_DATABASE_URL": postgres.url,
            "MONOLITH_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        }
        api = _spawn(
            stack,
            directory,
            environment,
            [
                programs / "uvicorn",
                "app:app",
                "--port",
                str(port),
                "--log-level",
                "warning",
                "--timeout-keep-alive",
                "600",
            ],
        )
        worker = _spawn(
            stack,
            directory,
            environment,
            [programs / "celery", "-A", "app:tasks", "worker", "-c", str(WORKER_PROCESSES), "-l", "error"],
        )
        url = f"http://127.0.0.1:{port}"
        _await_port(port, api)
        yield Monolith(url=url, postgres=postgres, redis=redis, api=api, worker=worker)


def _spawn(
    stack: contextlib.ExitStack, directory: Path, environment: Mapping[str, str], command: list[str | Path]
) -> subprocess.Popen[bytes]:
    with (directory / f"{Path(command[0]).name}.log").open("ab") as log:
        process = subprocesses.spawn(
            command,
            environment=environment,
            directory=directory,
            death_signal=signal.SIGKILL,
            output=log.fileno(),
        )
    stack.callback(subprocesses.stop, process, request=signal.SIGTERM, grace=STOP_SECONDS)
    return process


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise installed.Missing("the application did not start")
        time.sleep(POLL_SECONDS)
