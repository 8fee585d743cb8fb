"""PostgreSQL as deployed: encrypted, with a verified server certificate, and closed to clients without a certificate.

The embedded PostgreSQL is built without encryption, so these take the system's own: `make postgres`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from chassis import database_url, migrations, postgres, tls
from dev import subprocesses
from dev.launcher import certificates as local
from provision import roles

DEPLOYED = Path(__file__).parents[2] / "deploy" / "postgres"
STAND_IN = Path(__file__).with_name("docker-entrypoint.sh")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []
Certificates = Callable[[str], tls.Certificate]


@pytest.fixture(scope="module")
def url(certificate: Certificates) -> Iterator[str]:
    """The superuser's URL of a server that deploy/postgres/start has started, as docker-compose.yml has it do."""
    if not PROGRAMS:
        pytest.fail("install PostgreSQL first (Debian: apt-get install postgresql)", pytrace=False)
    home = Path(tempfile.mkdtemp(prefix="repruv-encrypted-"))
    home.chmod(0o755)  # the server's account reads pg_hba.conf in it
    for file in (DEPLOYED / "start", DEPLOYED / "pg_hba.conf", STAND_IN):
        shutil.copy(file, home)
    identity_files = certificate("postgres")
    port = subprocesses.free_port()
    environment = {
        "PATH": f"{home}:{PROGRAMS[-1]}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "PGDATA": str(home / "data"),
        "PORT": str(port),
        "POSTGRES_PASSWORD": "p",
        "TLS_CERTIFICATE": str(identity_files.certificate),
        "TLS_KEY": str(identity_files.key),
        "TLS_CA": str(identity_files.authority),
        "CERTIFICATE_COPY": str(home / "certificate"),
    }
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": home / "data", "fsync": "off"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command: list[str | Path] = ["sh", DEPLOYED.parent / "with-certificate", "sh", home / "start", *options]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    made = f"postgresql://postgres:p@127.0.0.1:{port}/postgres"
    try:
        try:
            roles.await_database(database_url.complete(made, certificate("provision")), seconds=30)
        except Exception:
            sys.stderr.write((home / "log").read_text())
            raise
        yield made
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(home)


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
    foreign = local.of(tmp_path, "demo")
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
