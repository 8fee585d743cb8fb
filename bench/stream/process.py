"""The processes of one measurement: NATS, the gateway's backend, and the measured server."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cpu
from bench.jobs import installed
from dev import subprocesses
from dev.embedded.nats_server import Nats

ROOT = Path(__file__).parent.parent.parent
PEERS = Path(__file__).parent / "peers"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
PASSWORD = "bench"  # noqa: S105 - of a server that lives for minutes, on 127.0.0.1


class Backend:
    """The process `bench.stream.backend`, driven by commands."""

    def __init__(self, nats_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.stream.backend", nats_url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        self.port = int(self._answer()["port"])

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Run a command and return its answer. Blocks."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait(STOP_SECONDS)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The settings of every server under test."""

    backend: Backend
    nats_url: str
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server under test."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def memory(self) -> int:
        """Resident bytes, children included."""
        return sum(_resident(pid) for pid in cpu.tree(self.process.pid))

    @property
    def cpu(self) -> float:
        """Processor seconds since the start."""
        return cpu.processor_seconds(cpu.tree(self.process.pid))


@contextlib.contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Start NATS and the in-memory backend, and delete everything afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="repruv-bench-") as name,
        Nats(Path(name), password=PASSWORD).temporary() as engine,
        contextlib.closing(Backend(engine.url)) as backend,
    ):
        yield Surroundings(backend=backend, nats_url=engine.url, directory=Path(name))


@contextlib.contextmanager
def gateway(setup: Surroundings, **settings: str) -> Iterator[Running]:
    """Run the gateway as delivered, but without limits by address: all readers share one."""
    target = f"127.0.0.1:{setup.backend.port}"
    port = subprocesses.free_port()
    environment = {
        "LISTEN": f"127.0.0.1:{port}",
        "AUTH_TARGET": target,
        "DEMO_TARGET": target,
        "JOBS_TARGET": target,
        "NATS_URL": setup.nats_url,
        "IDENTITY_KEY": secrets.token_urlsafe(32),
        "TRUSTED_IDENTITY_KEYS": "gateway:" + secrets.token_urlsafe(32),
        "RATE_LIMIT_USER": "off",
        "RATE_LIMIT_NETWORK": "off",
        "RATE_LIMIT_SIGN_IN": "off",
        "LOG_LEVEL": "warning",
        **settings,
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    with server(command, port, {"PATH": os.environ["PATH"], "PYTHONPATH": _paths(), **environment}) as running:
        yield running


@contextlib.contextmanager
def peer(setup: Surroundings, name: str) -> Iterator[Running]:
    """Run a peer, installing its packages if needed. Raises `installed.Missing`."""
    python = installed.environment(name, PEERS) / "bin" / "python"
    port = subprocesses.free_port()
    environment = {"PATH": os.environ["PATH"], "BENCH_PORT": str(port), "BENCH_NATS_URL": setup.nats_url}
    with server([str(python), str(PEERS / f"{name}_bench.py")], port, environment) as running:
        yield running


@contextlib.contextmanager
def server(command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[Running]:
    """Run a server while the context lasts. Waits for `/readyz`."""
    process = subprocess.Popen([*command], cwd=ROOT, env=dict(environment))
    try:
        _await(process, f"http://127.0.0.1:{port}/readyz")
        yield Running(port=port, process=process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(url)


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _paths() -> str:
    return f"{ROOT}:{ROOT / 'protos' / 'gen'}"
