"""Demo rows in bulk: written by COPY, removed in batches. The caller has locked the owner's row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.prepared import driver_connection
from services.demo import dataset
from services.demo.schema import content, interactions

_CONTENT_TYPES = ("uuid", "int8", "int4", "text", "text", "timestamptz", "int8", "int8")
_INTERACTION_TYPES = (
    *("uuid", "int8", "int4", "int4", "text", "text", "text", "text", "text"),
    *("int2", "text", "timestamptz", "bool", "text", "int4"),
)


def _own_columns(table: sa.Table) -> list[str]:
    """Return the columns after the owner and the generation, in the order of the records."""
    return table.c.keys()[2:]


def _insert(table: sa.Table, types: Sequence[str]) -> str:
    names = _own_columns(table)
    arrays = ", ".join(f"CAST(:{table.name}_{name} AS {kind}[])" for name, kind in zip(names, types[2:], strict=True))
    return f"""INSERT INTO {table.fullname} (owner_id, generation, {", ".join(names)})
SELECT :owner, :generation, * FROM unnest({arrays})"""  # noqa: S608 - names of our tables


INSERT_SMALL = f"""items AS ({_insert(content, _CONTENT_TYPES)}),
reviews AS ({_insert(interactions, _INTERACTION_TYPES)})"""
"""CTEs that write few rows: this costs less than two COPYs. Their parameters are those of `small_parameters`."""
_ctid: sa.ColumnElement[Any] = sa.literal_column("ctid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """How many rows were removed."""

    content: int
    interactions: int

    @property
    def total(self) -> int:
        """Content and interactions."""
        return self.content + self.interactions


async def write_content(
    conn: AsyncConnection, owner_id: UUID, generation: int, items: Sequence[dataset.ContentItem]
) -> None:
    await _copy(conn, content, _CONTENT_TYPES, ((owner_id, generation, *item) for item in items))


async def write_interactions(
    conn: AsyncConnection, owner_id: UUID, generation: int, batch: Sequence[dataset.Interaction]
) -> None:
    await _copy(conn, interactions, _INTERACTION_TYPES, ((owner_id, generation, *row) for row in batch))


def small_parameters(
    owner_id: UUID, generation: int, items: Sequence[dataset.ContentItem], batch: Sequence[dataset.Interaction]
) -> dict[str, Any]:
    parameters: dict[str, Any] = {"owner": owner_id, "generation": generation}
    for table, records in ((content, items), (interactions, batch)):
        names = _own_columns(table)
        columns = list(zip(*records, strict=True)) if records else [()] * len(names)
        parameters |= {f"{table.name}_{name}": list(values) for name, values in zip(names, columns, strict=True)}
    return parameters


async def remove(conn: AsyncConnection, owner_id: UUID, *, limit: int) -> Removed:
    """Remove up to `limit` of an owner's rows, interactions first; fewer than that were left if fewer are removed."""
    removed = await _delete(conn, interactions, interactions.c.owner_id == owner_id, limit)
    items = await _delete(conn, content, content.c.owner_id == owner_id, limit - removed) if removed < limit else 0
    return Removed(content=items, interactions=removed)


async def remove_generation(conn: AsyncConnection, owner_id: UUID, generation: int, *, limit: int) -> int:
    """Remove up to `limit` rows of one generation; return how many."""
    removed = 0
    for table in (interactions, content):
        chosen = sa.and_(table.c.owner_id == owner_id, table.c.generation == generation)
        removed += await _delete(conn, table, chosen, limit - removed)
    return removed


async def remove_uncounted_rows(
    conn: AsyncConnection,
    owner_id: UUID,
    generation: int,
    *,
    content_written: int,
    interactions_written: int,
    limit: int,
) -> int:
    """Remove up to `limit` rows of older generations, and of this one from its counters on; return how many."""
    removed = 0
    for table, written in ((interactions, interactions_written), (content, content_written)):
        for chosen in (
            table.c.generation < generation,
            sa.and_(table.c.generation == generation, table.c.position >= written),
        ):
            removed += await _delete(conn, table, sa.and_(table.c.owner_id == owner_id, chosen), limit - removed)
    return removed


async def _copy(
    conn: AsyncConnection, table: sa.Table, types: Sequence[str], records: Iterable[tuple[object, ...]]
) -> None:
    driver = driver_connection(conn)  # SQLAlchemy has no COPY
    columns = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, table.c.keys()))
    target = psycopg.sql.Identifier(str(table.schema), table.name)
    statement = psycopg.sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(target, columns)
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for record in records:
            await copy.write_row(record)


async def _delete(conn: AsyncConnection, table: sa.Table, chosen: sa.ColumnElement[bool], limit: int) -> int:
    if limit <= 0:
        return 0
    batch = sa.func.array(sa.select(_ctid).select_from(table).where(chosen).limit(limit).scalar_subquery())
    return (await conn.execute(sa.delete(table).where(_ctid == sa.any_(batch)))).rowcount
