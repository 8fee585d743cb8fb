"""Every place that could contain a leaked secret: tables, log lines of all processes, the store of NATS."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
from psycopg import rows, sql

_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
    ORDER BY 1, 2
"""


async def tables(database_url: str) -> bytes:
    """Return every row of every table as PostgreSQL prints it, bytes as hex."""
    written: list[str] = []
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=rows.tuple_row) as conn:
        for schema, table in await (await conn.execute(_TABLES)).fetchall():
            statement = sql.SQL("SELECT found::text FROM {} AS found").format(sql.Identifier(schema, table))
            written += [f"{schema}.{table} {row[0]}" for row in await (await conn.execute(statement)).fetchall()]
    return "\n".join(written).encode()


def files(folder: Path) -> bytes:
    """Return the contents of all files in a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.resolve().rglob("*")) if path.is_file())


def lines(log: Path) -> bytes:
    """Return all lines except those that show a developer without a mail server the links of emails."""
    return b"\n".join(line for line in log.read_bytes().split(b"\n") if b"mail written" not in line)


def leaks(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> Iterator[str]:
    """Name each secret with the place where it can be read: as it is, or as hex, base64 or quoted for an address."""
    for name, secret in secrets.items():
        plain = secret.encode()
        encoded = {plain, plain.hex().encode(), base64.b64encode(plain), base64.urlsafe_b64encode(plain).rstrip(b"=")}
        for place, content in places.items():
            if any(form in content for form in encoded):
                yield f"{name} in {place}"
