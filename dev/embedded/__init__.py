"""Embedded PostgreSQL 18 and nats-server 2.15 on 127.0.0.1, without containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dev.embedded.nats_server import Nats
from dev.embedded.postgres import Postgres
from dev.embedded.server import ServerFailed

__all__ = ["EmbeddedServers", "Nats", "Postgres", "ServerFailed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServers:
    """Both servers, started and stopped together. Also a context manager."""

    postgres: Postgres
    nats: Nats

    def start(self) -> None:
        self.postgres.start()
        try:
            self.nats.start()
        except BaseException:
            self.postgres.stop()
            raise

    def stop(self) -> None:
        try:
            self.nats.stop()
        finally:
            self.postgres.stop()

    def erase(self) -> None:
        """Stop both and delete all their data."""
        self.nats.erase()
        self.postgres.erase()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
