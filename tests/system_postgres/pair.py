"""Two PostgreSQL servers of this system, each the peer of the other, as deploy/postgres runs them."""

from __future__ import annotations

import sys

from tests.system_postgres.deployed import Certificates, Server

SYNCHRONOUS = "SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
IS_STANDBY = "SELECT 1 WHERE pg_is_in_recovery()"


class Pair:
    """Two servers, each the peer of the other."""

    def __init__(self, certificates: Certificates) -> None:
        self.servers = [Server(certificates) for _ in range(2)]

    def variables(self, number: int) -> dict[str, str]:
        """The variables of docker-compose.yml that make it one of a pair."""
        peer = self.servers[1 - number]
        role = ("primary", "standby")[number]
        return {"POSTGRES_PEER": "127.0.0.1", "POSTGRES_PEER_PORT": str(peer.port), "POSTGRES_ROLE": role}

    def start(self, number: int) -> None:
        """Start a server; a standby waits for its peer."""
        self.servers[number].start(self.variables(number))

    def promote(self, number: int) -> tuple[int, bytes]:
        """Run the script `promote` on a server; return its exit code and what it said."""
        done = self.servers[number].run("promote", variables=self.variables(number))
        return done.returncode, done.stderr

    def erase(self) -> None:
        """Stop the servers, print their logs, and delete their data."""
        for server in self.servers:
            sys.stderr.write(server.log)
            server.erase()
