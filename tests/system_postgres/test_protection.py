"""PostgreSQL as deployed: encrypted, with a verified server certificate, and closed to clients without a certificate.

The embedded PostgreSQL is built without encryption, so these take the system's own: `make postgres`.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from chassis import database_url, migrations, postgres, tls
from dev.launcher import certificates as local
from provision import roles
from tests.system_postgres import deployed

Certificates = deployed.Certificates


@pytest.fixture(scope="module")
def url(certificate: Certificates) -> Iterator[str]:
    """The superuser's URL of a server."""
    server = deployed.Server(certificate)
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


SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def shown_certificate(server: deployed.Server, client: tls.Certificate) -> bytes:
    """Return the certificate that the server shows to a new connection."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with client.client_context().wrap_socket(plain, server_hostname="localhost") as encrypted:
            return encrypted.getpeercert(binary_form=True) or b""


@pytest.mark.timeout(300)
def test_server_uses_its_new_certificate_without_a_restart(tmp_path: Path) -> None:
    local.make(tmp_path)
    server = deployed.Server(lambda name: local.load_certificate(tmp_path, name))
    client = local.load_certificate(tmp_path, "provision")
    server.start()
    try:
        server.await_answer("SELECT 1")
        with server.connect() as connection:
            files = tmp_path / "certificates" / "postgres"
            (files / "tls.crt").unlink()
            local.make(tmp_path)
            expected = ssl.PEM_cert_to_DER_cert((files / "tls.crt").read_text())
            deadline = time.monotonic() + deployed.SECONDS
            while shown_certificate(server, client) != expected:
                assert time.monotonic() < deadline, "the server shows the old certificate"
                time.sleep(0.2)
            connection.execute("SELECT 1")
    finally:
        server.erase()
