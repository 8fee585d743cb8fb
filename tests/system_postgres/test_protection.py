"""PostgreSQL as it is deployed: encrypted, sure of whom one reached, and closed to whoever shows no certificate.

The embedded PostgreSQL is built without encryption, so these take the system's own: `make postgres`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from chassis import database_url, migrations, postgres, tls
from dev import children
from dev.launcher import certificates as local
from provision import certificates, roles

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []
Certificates = Callable[[str], tls.Certificate]


@pytest.fixture(scope="module")
def url(certificate: Certificates) -> Iterator[str]:
    """The superuser's URL of a server that runs with deploy/postgres."""
    if not PROGRAMS:
        pytest.fail("install PostgreSQL first (Debian: apt-get install postgresql)", pytrace=False)
    home = Path(tempfile.mkdtemp(prefix="repruv-encrypted-"))
    own = certificate("postgres")
    for file in (own.certificate, own.key, own.authority):
        shutil.copy(file, home)
    shutil.copy(ROOT / "deploy/postgres/pg_hba.conf", home)
    (home / "password").write_text("p")
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    for path in (home, *home.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    user = account.pw_uid if os.geteuid() == 0 else None
    port = children.free_port()
    subprocess.run(
        [PROGRAMS[-1] / "initdb", f"--pgdata={home}/data", "--username=postgres", f"--pwfile={home}/password"],
        check=True, capture_output=True, cwd=home, timeout=60, user=user, group=user,
    )  # fmt: skip
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "ssl": "on",
        "ssl_min_protocol_version": "TLSv1.3", "hba_file": home / "pg_hba.conf",
        "ssl_cert_file": home / certificates.CERTIFICATE, "ssl_key_file": home / certificates.KEY,
        "ssl_ca_file": home / certificates.AUTHORITY,
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    server = subprocess.Popen(
        [PROGRAMS[-1] / "postgres", "-D", home / "data", "-p", str(port), *options],
        cwd=home, stderr=subprocess.DEVNULL, user=user, group=user,
    )  # fmt: skip
    made = f"postgresql://postgres:p@127.0.0.1:{port}/postgres"
    try:
        roles.await_database(database_url.protect(made, certificate("provision")), seconds=30)
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
    assert is_encrypted(database_url.protect(url, certificate("demo")))


async def test_the_engine_of_a_service_is_encrypted(url: str, certificate: Certificates) -> None:
    engine = postgres.engine(url, name="test", own=certificate("demo"))
    for one in (engine, postgres.autocommit(engine)):
        async with one.connect() as conn:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert (await conn.execute(sa.text(query))).scalar_one()
    await engine.dispose()


def test_migrations_are_encrypted(url: str, certificate: Certificates, tmp_path: Path) -> None:
    with psycopg.connect(database_url.protect(url, certificate("provision")), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA migrated")
    migrations.upgrade(url, "migrated", tmp_path, own=certificate("provision"))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=disable", "no encryption"),
        ("sslmode=require&sslcert=/none&sslkey=/none", "client certificate"),
    ],
)
def test_without_encryption_or_a_certificate_nobody_gets_in(url: str, query: str, said: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=said):
        psycopg.connect(f"{url}?{query}", connect_timeout=5)


def test_a_certificate_of_another_authority_is_refused(url: str, certificate: Certificates, tmp_path: Path) -> None:
    local.make(tmp_path)
    foreign = local.of(tmp_path, "demo")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        is_encrypted(database_url.protect(url, foreign))
    trusting = tls.Certificate(foreign.certificate, foreign.key, certificate("demo").authority)
    with pytest.raises(psycopg.OperationalError, match=r"unknown ca|certificate"):
        is_encrypted(database_url.protect(url, trusting))


def test_a_server_of_another_name_is_not_believed(url: str, certificate: Certificates) -> None:
    elsewhere = url.replace("127.0.0.1", "database.example") + "?hostaddr=127.0.0.1"
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        is_encrypted(database_url.protect(elsewhere, certificate("demo")))


def test_a_wrong_password_is_refused_with_a_good_certificate(url: str, certificate: Certificates) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        is_encrypted(database_url.protect(url.replace(":p@", ":wrong@"), certificate("demo")))
