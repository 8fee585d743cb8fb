"""Every earlier schema of a service, with rows in all its tables, becomes the newest one and keeps them."""

from __future__ import annotations

import secrets
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from chassis import migrations
from dev.embedded import EmbeddedServers
from dev.embedded.postgres import SUPERUSER
from provision import roles
from provision.services import SERVICES
from tests.conftest import PASSWORDS

ROOT = Path(__file__).parents[3]
LATER, EARLIER = "2036-01-01 12:00:00+00", "2026-01-01 12:00:00+00"
SEALED = b"x" * 50

VALUES: Mapping[str, Callable[[], Any]] = {
    "uuid": uuid.uuid4,
    "text": lambda: uuid.uuid4().hex,
    "bytea": lambda: secrets.token_bytes(32),
    "int2": lambda: 1,
    "int4": lambda: 1,
    "int8": lambda: 1,
    "float8": lambda: 1.0,
    "bool": lambda: False,
    "jsonb": lambda: "{}",
    "interval": lambda: "1 minute",
    "timestamptz": lambda: LATER,
    "_text": lambda: ["x"],
    "_int4": lambda: [0] * 48,
}
"""A value for a column of each type that needs one."""
EXPORT = {"state": "exporting", "previous_state": "none"}
RAN = {"attempt": 1, "started_at": EARLIER}
ROWS: Mapping[str, list[dict[str, Any]]] = {
    "auth.users": [{"role": "user", "email": "user{head}@example.com", "password_hash": "$argon2id$x"}],
    "auth.second_factors": [{"sealed_secret": SEALED, "confirm_before": LATER}],
    "auth.mail_tokens": [{"purpose": "verify"}],
    "auth.security_events": [{"kind": "login_failed"}],
    "auth.connections": [{"state": "disconnected", "previous_state": "connecting"}],
    "auth.connection_authorizations": [{"return_to": "/settings/connections"}],
    "auth.connection_items": [{"url": "https://example.com/"}],
    "auth.connection_secrets": [{"sealed_code": SEALED, "sealed_verifier": SEALED, "sealed_nonce": SEALED}],
    "auth.connection_platforms": [{"platform": "platform{head}"}],
    "auth.passkey_challenges": [{"purpose": "login"}],
    "auth.email_changes": [{"old_email": "old{head}@example.com", "new_email": "new{head}@example.com"}],
    "auth.api_tokens": [{"scopes": ["read"], "created_at": "2035-12-01 12:00:00+00"}],
    "auth.data_exports": [{"job_kind": "auth.export-data", **EXPORT}],
    "demo.interactions": [{"kind": "comment", "sentiment": "neutral"}],
    "demo.exports": [{"job_kind": "demo.export", **EXPORT}],
    "jobs.jobs": [
        {"state": "pending", "ready": True},
        {"job_id": None, "state": "running", "worker": "w", "lease_until": LATER, **RAN},
        {"job_id": None, "state": "completed", "finished_at": LATER, "result": "{}", **RAN},
        {"job_id": None, "state": "failed", "finished_at": LATER, "error_code": "x", "error_message": "x", **RAN},
    ],
    "jobs.schedules": [
        {"name": "demo.{head}", "declared_at": EARLIER, "catch_up": "last", "overlap": "skip", "next_at": LATER}
    ],
    "jobs.attempt_logs": [{"level": "info"}],
    "jobs.job_changes": [{"change": "hold"}],
    "jobs.kind_changes": [{"change": "paused"}],
    "jobs.kind_rates": [{"span": "minute"}],
}
"""What keys and checks ask for; one row of each other table. None: a new id. Columns that a schema lacks are left out."""
FIRST = ("users", "sessions", "second_factors", "connections", "exports", "data_exports", "jobs")
"""Tables that others refer to."""

COLUMNS = """
SELECT table_name, column_name, udt_name, is_nullable = 'NO' AND column_default IS NULL FROM information_schema.columns
WHERE table_schema = %s AND is_generated = 'NEVER' AND is_identity = 'NO' AND table_name <> 'schema_version'
"""
SHAPES = {
    "columns": """
        SELECT table_name, column_name, udt_name, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = %s""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
        WHERE connamespace = %s::regnamespace""",
    "indexes": """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid
        WHERE relnamespace = %s::regnamespace""",
}


@pytest.fixture(scope="module")
def empty(provisioned: EmbeddedServers) -> Callable[[str], str]:
    """The URL of a service's role in a database without tables."""
    name = f"upgraded_{secrets.token_hex(4)}"
    with provisioned.postgres.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    admin_url = provisioned.postgres.url_for(SUPERUSER, provisioned.postgres.password, name)
    roles.provision(admin_url, PASSWORDS)
    return lambda service: roles.service_url(admin_url, service, PASSWORDS[service])


def fill(connection: psycopg.Connection, service: str, head: str) -> None:
    """Insert rows into every table that the schema has at this head."""
    columns: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, column, kind, is_needed in connection.execute(COLUMNS, [service]):
        columns.setdefault(table, {})[column] = (kind, is_needed)
    for table in sorted(columns, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        for values in ROWS.get(f"{service}.{table}", [{}]):
            row = row_of(columns[table], values, service, head)
            names, holes = (
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            )
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(service, table), names, holes)
            connection.execute(statement, list(row.values()))


def row_of(
    columns: Mapping[str, tuple[str, bool]], values: Mapping[str, Any], service: str, head: str
) -> dict[str, Any]:
    """Return a row: rows of one head belong to one owner and one job."""
    owner = uuid.uuid5(uuid.NAMESPACE_OID, f"{service} {head}")
    shared = {"user_id": owner, "owner_id": owner, "job_id": owner, "session_id": owner, "platform": "youtube"}
    shared |= {"external_id": "channel", "name": "a name", "kind": f"demo.kind{head}"}
    row = {name: shared.get(name, VALUES[kind]()) for name, (kind, is_needed) in columns.items() if is_needed}
    for name, value in values.items():
        if name in columns:
            row[name] = (
                uuid.uuid4()
                if value is None
                else value.format(head=head)
                if isinstance(value, str) and value != "{}"
                else value
            )
    return row


def shapes(url: str, service: str) -> dict[str, set[tuple[Any, ...]]]:
    """Return columns, constraints and indexes of a schema."""
    with psycopg.connect(url) as connection:
        return {name: set(connection.execute(statement, [service])) for name, statement in SHAPES.items()}


@pytest.mark.parametrize("service", SERVICES)
def test_rows_of_every_earlier_schema_outlive_the_upgrade(
    service: str, empty: Callable[[str], str], database_url: Callable[[str], str], tmp_path: Path
) -> None:
    url, before = empty(service), dict[str, int]()
    for path in sorted((ROOT / "services" / service / "migrations").glob("0*.py")):
        shutil.copy(path, tmp_path)
        migrations.upgrade(url, service, tmp_path)
        with psycopg.connect(url) as connection:
            after = counted(connection, service)
            common_tables = (
                before.keys() & after.keys()
            )  # the others were renamed, or dropped when nothing used them any more
            assert {table: after[table] for table in common_tables} == {
                table: before[table] for table in common_tables
            }, path.name
            fill(connection, service, path.name[:4])
            before = counted(connection, service)
    assert all(before.values())
    assert shapes(url, service) == shapes(database_url(service), service)


def counted(connection: psycopg.Connection, service: str) -> dict[str, int]:
    """Return the number of rows of each table."""
    counts = {}
    for table in {row[0] for row in connection.execute(COLUMNS, [service])}:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(service, table))).fetchone()
        counts[table] = int(row[0]) if row else 0
    return counts
