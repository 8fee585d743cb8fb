"""The ledger of the import: the new row of each old one, or why there is none. It feeds the report.

It makes the import repeatable.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

SCHEMA = "legacy_import"
metadata = sa.MetaData(schema=SCHEMA)
rows = sa.Table(
    "rows",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("legacy_id", sa.Text, primary_key=True),
    sa.Column("target_id", sa.Uuid),  # the new row, or the user of a connection; NULL: the old row was left out
    sa.Column("notes", postgresql.ARRAY(sa.Text), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The result of importing an old row."""

    legacy_id: str
    target_id: uuid.UUID | None
    notes: tuple[str, ...]


def create(conn: sa.Connection) -> None:
    """Create the schema and the table of the ledger."""
    conn.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    metadata.create_all(conn)


def read(conn: sa.Connection, source: str, legacy_ids: Collection[str]) -> dict[str, Entry]:
    """Return the entries of old rows, by id."""
    condition = sa.and_(
        rows.c.source == source, rows.c.legacy_id == sa.any_(sa.literal(list(legacy_ids), sa.ARRAY(sa.Text)))
    )
    result = conn.execute(sa.select(rows.c.legacy_id, rows.c.target_id, rows.c.notes).where(condition))
    return {
        row.legacy_id: Entry(legacy_id=row.legacy_id, target_id=row.target_id, notes=tuple(row.notes)) for row in result
    }


def write(conn: sa.Connection, source: str, entries: Iterable[Entry]) -> None:
    """Store entries; those of rows that were left out before are replaced."""
    values = [
        {"source": source, "legacy_id": entry.legacy_id, "target_id": entry.target_id, "notes": list(entry.notes)}
        for entry in entries
    ]
    if values:
        insert = postgresql.insert(rows)
        updates = {name: insert.excluded[name] for name in ("target_id", "notes")}
        conn.execute(insert.on_conflict_do_update(index_elements=["source", "legacy_id"], set_=updates), values)
