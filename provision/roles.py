"""A role and a schema for each service; no role can access the schema of another."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from provision import statistics

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5
RETRY_SECONDS = 0.5
MAX_CAUSE = 300
"""Characters of an error that are logged."""
# The limits of a service's sessions. Its processes set the same ones, except through a pooler.
LIMITS = {"statement_timeout": "10s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "15s"}
TIGHTER_LIMITS = {"jobs": {"lock_timeout": "600ms", "idle_in_transaction_session_timeout": "2s"}}


class UnfitDatabase(Exception):
    """The database cannot hold what the services store."""


class Unreachable(Exception):
    """The database did not accept a connection in time."""


def await_database(url: str, *, seconds: float) -> None:
    """Return when the database accepts a connection. Raises `Unreachable` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(url, connect_timeout=CONNECT_SECONDS).close()
        except psycopg.OperationalError as error:
            cause = " ".join(str(error).split())[:MAX_CAUSE]
            if time.monotonic() > deadline:
                raise Unreachable(f"PostgreSQL did not accept a connection within {seconds:g} s: {cause}") from error
            logger.info("waiting for PostgreSQL: %s", cause)
            time.sleep(RETRY_SECONDS)
        else:
            return


def provision(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Create the role and the schema of each service in `passwords`, or update them.

    Raises `UnfitDatabase` when the database was made with another encoding than UTF-8, which cannot be changed afterwards.
    """
    with psycopg.connect(admin_url, connect_timeout=CONNECT_SECONDS) as connection:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise UnfitDatabase(f"the database {connection.info.dbname} has the encoding {encoding}; it must be UTF8")
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('provision roles', 0))")
        database = connection.info.dbname
        connection.execute(_sql("REVOKE ALL ON DATABASE {} FROM PUBLIC", database))
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for service, password in passwords.items():
            _provision_role(connection, service, password)
            _provision_schema(connection, service)
            connection.execute(_sql("GRANT CONNECT ON DATABASE {} TO {}", database, service))
            if service == statistics.READER:
                statistics.provision(connection)
            logger.info("role and schema %s are in place", service)


def service_url(admin_url: str, service: str, password: str) -> str:
    """Return the URL by which a service's own role reaches the database that `admin_url` names."""
    parts = urlsplit(admin_url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(service)}:{quote(password, safe='')}@{place}"))


def _provision_role(connection: psycopg.Connection, role: str, password: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        connection.execute(_sql("CREATE ROLE {}", role))
    # Only the verifier is sent: a password in a statement would end up in logs.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(_sql("ALTER ROLE {} LOGIN PASSWORD ", role) + sql.Literal(verifier))
    for name, value in {**LIMITS, **TIGHTER_LIMITS.get(role, {}), "search_path": role}.items():
        connection.execute(_sql("ALTER ROLE {} SET {} = ", role, name) + sql.Literal(value))


def _provision_schema(connection: psycopg.Connection, role: str) -> None:
    if not _is_superuser(connection):  # a managed database: only a member may give things to a role
        connection.execute(_sql("GRANT {} TO CURRENT_USER", role))
    connection.execute(_sql("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", role, role))
    connection.execute(_sql("ALTER SCHEMA {} OWNER TO {}", role, role))
    connection.execute(_sql("REVOKE ALL ON SCHEMA {} FROM PUBLIC", role))


def _is_superuser(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER").fetchone()
    return bool(row and row[0])


def _sql(template: str, *names: str) -> sql.Composed:
    return sql.SQL(template).format(*map(sql.Identifier, names))
