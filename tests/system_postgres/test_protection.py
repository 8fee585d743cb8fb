"""PostgreSQL as deployed: encrypted, with a verified server certificate, and closed to clients without a certificate.

The embedded PostgreSQL is built without encryption, so these take the system's own: `make postgres`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from chassis import database_url, migrations, postgres, tls
from dev.launcher import certificates as local
from provision import roles
from tests.system_postgres import deployed

Certificates = Callable[[str], tls.Certificate]


@pytest.fixture(scope="module")
def url(certificate: Certificates) -> Iterator[str]:
    """The superuser's URL of a server."""
    server = deployed.Server(certificate("postgres"))
    server.start()
    try:
        roles.await_database(database_url.complete(server.url, certificate("provision")), seconds=30)
        yield server.url
    finally:
        sys.stderr.write(server.log)
        server.erase()


def is_encrypted(url: str) -> bool:
    """Connect, and say whether what goes over the connection can be read on the way."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute("SELECT ssl AND version = 'TLSv1.3' FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return bool(row.fetchone()[0])  # type: ignore[index]


def test_a_connection_is_encrypted_on_both_certificates(url: str, certificate: Certificates) -> None:
    assert is_encrypted(database_url.complete(url, certificate("demo")))


async def test_the_engine_of_a_service_is_encrypted(url: str, certificate: Certificates) -> None:
    engine = postgres.engine(url, name="test", certificate=certificate("demo"))
    for candidate in (engine, postgres.autocommit(engine)):
        async with candidate.connect() as conn:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert (await conn.execute(sa.text(query))).scalar_one()
    await engine.dispose()


def test_migrations_are_encrypted(url: str, certificate: Certificates, tmp_path: Path) -> None:
    with psycopg.connect(database_url.complete(url, certificate("provision")), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA migrated")
    migrations.upgrade(url, "migrated", tmp_path, certificate=certificate("provision"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sslmode=disable", "no encryption"),
        ("sslmode=require&sslcert=/none&sslkey=/none", "client certificate"),
    ],
)
def test_connection_requires_encryption_and_a_certificate(url: str, query: str, message: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=message):
        psycopg.connect(f"{url}?{query}", connect_timeout=5)


def test_a_certificate_of_another_authority_is_refused(url: str, certificate: Certificates, tmp_path: Path) -> None:
    local.make(tmp_path)
    foreign = local.load_certificate(tmp_path, "demo")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        is_encrypted(database_url.complete(url, foreign))
    trusting = tls.Certificate(foreign.certificate, foreign.key, certificate("demo").authority)
    with pytest.raises(psycopg.OperationalError, match=r"unknown ca|certificate"):
        is_encrypted(database_url.complete(url, trusting))


def test_a_server_of_another_name_is_not_believed(url: str, certificate: Certificates) -> None:
    elsewhere = url.replace("127.0.0.1", "database.example") + "?hostaddr=127.0.0.1"
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        is_encrypted(database_url.complete(elsewhere, certificate("demo")))


def test_a_wrong_password_is_refused_with_a_good_certificate(url: str, certificate: Certificates) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        is_encrypted(database_url.complete(url.replace(":p@", ":wrong@"), certificate("demo")))
