"""The scripts of a pair of containers: a standby copies, follows and is promoted; the former primary becomes its standby."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from chassis import database_url, tls
from provision import roles
from tests.system_postgres import deployed

Certificates = Callable[[str], tls.Certificate]
SECONDS = 60.0
SYNCHRONOUS = "SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"


class Pair:
    """Two servers, each the peer of the other."""

    def __init__(self, certificates: Certificates) -> None:
        self._client = certificates("provision")
        self.servers = [deployed.Server(certificates("postgres")) for _ in range(2)]

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
        server = self.servers[number]
        peer = {
            **self.variables(number),
            "SOCKET": server.environment["PGDATA"],
            "PGPORT": str(server.port),
        }
        done = server.run("promote", peer)
        return done.returncode, done.stderr

    def connect(self, number: int) -> psycopg.Connection:
        """Connect to a server, whatever its role."""
        url = database_url.complete(f"{self.servers[number].url}?target_session_attrs=any", self._client)
        return psycopg.connect(url, connect_timeout=5, autocommit=True)

    def await_answer(self, number: int, query: str) -> None:
        """Wait until the server answers the query with a row."""
        roles.await_database(
            database_url.complete(f"{self.servers[number].url}?target_session_attrs=any", self._client), seconds=SECONDS
        )
        deadline = time.monotonic() + SECONDS
        while True:
            with self.connect(number) as connection:
                if connection.execute(query.encode()).fetchone():
                    return
            assert time.monotonic() < deadline, f"no row within {SECONDS:g} s: {query}"
            time.sleep(0.1)


@pytest.fixture
def pair(certificate: Certificates) -> Iterator[Pair]:
    """Return the pair, not started."""
    new_pair = Pair(certificate)
    yield new_pair
    for server in new_pair.servers:
        sys.stderr.write(server.log)
        server.erase()


@pytest.mark.timeout(300)
def test_pair_of_containers_fails_over_and_back(pair: Pair) -> None:
    pair.start(1)  # the order of starts does not matter
    pair.start(0)
    for former, promoted in ((0, 1), (1, 0)):
        pair.await_answer(former, SYNCHRONOUS)
        with pair.connect(former) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        code, output = pair.promote(promoted)
        assert code == 1
        assert b"still runs" in output, "two primaries would diverge"
        pair.servers[former].kill()
        code, output = pair.promote(promoted)
        assert code == 0, output
        with pair.connect(promoted) as connection:
            connection.execute("INSERT INTO kept VALUES (2)")
        pair.start(former)
    pair.await_answer(0, SYNCHRONOUS)
    for number in (0, 1):
        with pair.connect(number) as connection:
            assert connection.execute("SELECT n FROM kept ORDER BY n").fetchall() == [(1,), (1,), (2,), (2,)]
