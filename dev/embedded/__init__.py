"""Embedded PostgreSQL 18 and nats-server 2.15 on 127.0.0.1, without containers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from dev.embedded.nats_server import Nats, Protection
from dev.embedded.postgres import Postgres
from dev.embedded.postgres_pair import PostgresPair
from dev.embedded.server import EmbeddedServer, ServerFailed

__all__ = ["EmbeddedServers", "Nats", "Postgres", "PostgresPair", "ServerFailed"]

STANDBY = "postgres-standby"
NATS_PEERS = ("nats-2", "nats-3")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServers:
    """PostgreSQL and NATS, started and stopped together. Also a context manager.

    A standby and NATS peers make them highly available: `highly_available` creates all.
    """

    postgres: Postgres
    nats: Nats
    standby: Postgres | None = None
    nats_peers: tuple[Nats, ...] = ()

    @classmethod
    def highly_available(
        cls,
        data_dir: Path,
        *,
        postgres_password: str,
        nats_password: str = "",
        protection: Protection | None = None,
    ) -> Self:
        """Create a primary, its synchronous standby, and three NATS nodes."""
        first, *peers = nodes = [
            Nats(data_dir, name=name, password=nats_password, protection=protection) for name in ("nats", *NATS_PEERS)
        ]
        for node in nodes:
            node.peers = nodes
        primary, standby = (Postgres(data_dir, name=name, password=postgres_password) for name in ("postgres", STANDBY))
        return cls(postgres=primary, standby=standby, nats=first, nats_peers=tuple(peers))

    @property
    def pair(self) -> PostgresPair:
        """The primary and its standby. Raises `ServerFailed` without one."""
        if self.standby is None:
            raise ServerFailed("postgres: there is no standby")
        return PostgresPair(servers=(self.postgres, self.standby))

    @property
    def nats_nodes(self) -> tuple[Nats, ...]:
        return (self.nats, *self.nats_peers)

    @property
    def by_name(self) -> dict[str, EmbeddedServer]:
        """All servers, by their names in docker-compose.yml."""
        databases = (self.postgres,) if self.standby is None else (self.postgres, self.standby)
        return {server.name: server for server in (*databases, *self.nats_nodes)}

    def database_url(self, user: str, password: str) -> str:
        """Return the URL of the database, with all hosts."""
        return _join_hosts([s.url_for(user, password) for s in self.by_name.values() if isinstance(s, Postgres)])

    def nats_url(self, user: str, password: str) -> str:
        """Return the URL of NATS, with all hosts."""
        return _join_hosts([node.url_for(user, password) for node in self.nats_nodes])

    def start(self) -> None:
        try:
            self.start_postgres()
            self.start_nats()
        except BaseException:
            self.stop()
            raise

    def start_postgres(self) -> None:
        if self.standby is None:
            self.postgres.start()
        else:
            self.pair.start()

    def start_nats(self) -> None:
        for node in self.nats_nodes:
            node.start()
        if self.nats_peers:
            self.nats.await_leader()

    def restart_dead_servers(self) -> bool:
        """Restart dead servers of a highly available set, as an operator's tool does. Return whether one was dead."""
        if self.standby is None:
            return False
        dead = [node for node in self.nats_nodes if node.pid is None]
        for node in dead:
            node.start()
        return self.pair.restart_dead_servers() or bool(dead)

    def stop(self) -> None:
        self._end_all(EmbeddedServer.stop)

    def erase(self) -> None:
        """Stop all and delete all their data."""
        self._end_all(EmbeddedServer.erase)

    def _end_all(self, end: Callable[[EmbeddedServer], None]) -> None:
        with contextlib.ExitStack() as stack:
            for server in self.by_name.values():
                stack.callback(end, server)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _join_hosts(urls: list[str]) -> str:
    """Return a URL with the hosts of all `urls`, which differ in nothing else."""
    parts = [urlsplit(url) for url in urls]
    user, _, host = parts[0].netloc.rpartition("@")
    hosts = ",".join([host, *(part.netloc.rpartition("@")[2] for part in parts[1:])])
    return urlunsplit(parts[0]._replace(netloc=f"{user}@{hosts}"))
