"""The rows of an owner as JSON lines, for the export of a user's data: read page by page, in parts of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres

PAGE = 500
"""Rows that one statement reads."""
PART_BYTES = 256 << 10
"""Size at which a part ends; a row is never split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerTable:
    """A table whose rows belong to owners."""

    table: sa.Table
    owner: str = "owner_id"
    """The column of the owner."""
    omitted: Mapping[str, str] = field(default_factory=dict)
    """Columns that owners do not get, with the reason."""
    hidden: Mapping[str, sa.ColumnElement[bool]] = field(default_factory=dict)
    """Columns that are null in the rows that meet a condition."""

    @property
    def name(self) -> str:
        """The name with its schema."""
        return self.table.fullname


@dataclass(frozen=True, slots=True)
class Part:
    """The next rows of a table, or why a table is left out."""

    table: str
    rows: bytes = b""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRows:
    """The tables with rows of owners: those that an export contains, and those that it leaves out, with the reason."""

    engine: AsyncEngine
    tables: Sequence[OwnerTable]
    left_out: Mapping[str, str]

    async def stream(self, owner_id: UUID) -> AsyncGenerator[Part, None]:
        """Yield the parts of each table, at least one, and then the tables that are left out."""
        for table in self.tables:
            yield Part(table.name)
            async with aclosing(self._read(table, owner_id)) as parts:
                async for rows in parts:
                    yield Part(table.name, rows)
        for name, reason in self.left_out.items():
            yield Part(name, reason=reason)

    async def _read(self, table: OwnerTable, owner_id: UUID) -> AsyncGenerator[bytes, None]:
        """Yield the rows by primary key; nothing if there are none. A slow reader holds no connection."""
        engine = postgres.autocommit(self.engine)
        part, count = b"", PAGE
        after: Sequence[Any] | None = None
        while count == PAGE:
            async with engine.connect() as conn:
                rows = (await conn.execute(_statement(table, owner_id, after))).all()
            count = len(rows)
            for line, *key in rows:
                part += line.encode() + b"\n"
                after = key
                if len(part) >= PART_BYTES:
                    yield part
                    part = b""
        if part:
            yield part


def _statement(table: OwnerTable, owner_id: UUID, after: Sequence[Any] | None) -> sa.Select[Any]:
    columns = [column for column in table.table.columns if column.name not in table.omitted]
    pairs: list[sa.ColumnElement[Any]] = []
    for column in columns:
        condition = table.hidden.get(column.name)
        value = column if condition is None else sa.case((~condition, column))
        pairs += (sa.literal_column(f"'{column.name}'"), value)
    key = list(table.table.primary_key.columns)
    line = sa.cast(sa.func.json_build_object(*pairs), sa.Text)
    statement = sa.select(line, *key).where(table.table.c[table.owner] == owner_id).order_by(*key).limit(PAGE)
    if after is None:
        return statement
    values = [sa.literal(value, column.type) for value, column in zip(after, key, strict=True)]
    return statement.where(sa.tuple_(*key) > sa.tuple_(*values))
