"""The rows of an owner as JSON lines, for the export of a user's data: read page by page, in parts of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

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

    @property
    def name(self) -> str:
        """The name with its schema."""
        return self.table.fullname


async def read(engine: AsyncEngine, table: OwnerTable, owner_id: UUID) -> AsyncGenerator[bytes, None]:
    """Yield the rows of an owner, by primary key; nothing if there are none. A slow reader holds no connection."""
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
        pairs += (sa.literal_column(f"'{column.name}'"), column)
    key = list(table.table.primary_key.columns)
    line = sa.cast(sa.func.json_build_object(*pairs), sa.Text)
    statement = sa.select(line, *key).where(table.table.c[table.owner] == owner_id).order_by(*key).limit(PAGE)
    if after is None:
        return statement
    values = [sa.literal(value, column.type) for value, column in zip(after, key, strict=True)]
    return statement.where(sa.tuple_(*key) > sa.tuple_(*values))
