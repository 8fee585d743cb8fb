"""A primary and its synchronous standby: failover, switchover, and the way back of a former primary.

In production the operator's tool does this, and decides when: see docs/high-availability.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

import psycopg

from dev.embedded.postgres import Postgres
from dev.embedded.server import ServerFailed

PROMOTION_SECONDS = 60
STREAMING_SECONDS = 60.0
POLL_SECONDS = 0.05
SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '*'"
ALONE = "ALTER SYSTEM SET synchronous_standby_names = ''"
KEEP_WAL = "ALTER SYSTEM SET wal_keep_size = '512MB'"
"""How far a standby may fall behind. It is in the cluster's own configuration, because pg_rewind starts the server with that."""
IS_STREAMING = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state <> 'async')"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPair:
    """Two servers, one of which is the primary.

    A commit is acknowledged once both have it on disk. A dead standby therefore stops all commits until it is back.
    """

    servers: tuple[Postgres, Postgres]

    @property
    def primary(self) -> Postgres:
        """The server that is the primary, or was promoted last, by its files. The first one of a pair that never ran."""
        return max(
            self.servers, key=lambda server: (not server.is_standby, server.newest_timeline, server is self.servers[0])
        )

    def start(self) -> None:
        """Start the primary, then its standby."""
        primary = self.primary
        primary.primary = None
        primary.start()
        self._follow(primary)

    def promote(self) -> Postgres:
        """Make the standby the primary and return it. A primary that still runs is shut down first.

        Works from another process than the one that started the servers. Raises `ServerFailed` without a standby.
        """
        roles = {server: _is_in_recovery(server) for server in self.servers}
        standby = next((server for server, in_recovery in roles.items() if in_recovery), None)
        if standby is None:
            raise ServerFailed("postgres: no standby answers")
        _shut_down(self._peer_of(standby))
        with standby.connect() as connection:
            # Otherwise it would wait for a standby that it does not have.
            connection.execute(ALONE)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("SELECT pg_promote(true, %s)", [PROMOTION_SECONDS])
        if _is_in_recovery(standby) is not False:
            raise standby.failure("not promoted")
        return standby

    def restart_dead_servers(self) -> bool:
        """Let a dead server follow the other one, if that is the primary. Return whether one was dead."""
        for server in self.servers:
            primary = self._peer_of(server)
            if server.pid is None and primary.pid is not None and _is_in_recovery(primary) is False:
                self._follow(primary)
                return True
        return False

    def _follow(self, primary: Postgres) -> None:
        """Start the other server as the standby of `primary`, and let commits wait for it again."""
        standby = self._peer_of(primary)
        with primary.connect() as connection:
            connection.execute(KEEP_WAL)
            connection.execute("SELECT pg_reload_conf()")
            standby.stop()
            standby.primary = primary
            standby.start()
            connection.execute(SYNCHRONOUS)
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + STREAMING_SECONDS
            while not (connection.execute(IS_STREAMING).fetchone() or (False,))[0]:
                if time.monotonic() > deadline:
                    raise standby.failure("does not follow the primary")
                time.sleep(POLL_SECONDS)

    def _peer_of(self, server: Postgres) -> Postgres:
        return self.servers[1] if server is self.servers[0] else self.servers[0]


def _is_in_recovery(server: Postgres) -> bool | None:
    """Return whether the server is a standby, None if it does not answer."""
    try:
        with server.connect() as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    except psycopg.OperationalError:
        return None
    return bool(row and row[0])


def _shut_down(server: Postgres) -> None:
    """End a server, whichever process started it. Returns when nothing of it is left."""
    if not server.is_in_use():
        return
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = int((server.cluster / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, server.stop_signal)
        deadline = time.monotonic() + server.stop_grace_seconds
        while server.is_in_use():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
    while server.is_in_use():  # processes of a killed server end shortly after it
        time.sleep(POLL_SECONDS)
