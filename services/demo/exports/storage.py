"""Rows of exports and their chunks: one function a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from lifecycle.rows import Rows, common
from services.demo.exports import domain
from services.demo.exports.domain import Action, Export, State
from services.demo.exports.schema import export_chunks, exports
from services.demo.schema import content, interactions

_EMPTY = {"rows_written": 0, "chunk_count": 0, "byte_count": 0}


def _export(row: Mapping[Any, Any]) -> Export:
    names = ("owner_id", "job_kind", "demo_generation", "row_count", "rows_written", "chunk_count", "byte_count")
    own = {name: row[name] for name in (*names, "expires_at")}
    return Export(**common(row), **own, state=State(row["state"]))


EXPORTS = Rows(
    domain.MACHINE,
    exports,
    read=_export,
    absent=lambda owner_id: Export(owner_id=owner_id),
    changes={
        Action.START: {"job_kind": domain.KIND, "expires_at": None, **_EMPTY},
        Action.COMPLETE: {"expires_at": sa.func.now() + domain.LIFETIME},
        Action.CANCEL: _EMPTY,
        Action.EXPIRE: {"expires_at": None, **_EMPTY},
    },
)


async def read_interactions(conn: AsyncConnection, export: Export, *, limit: int) -> Sequence[Mapping[Any, Any]]:
    """Read the next interactions to export, in the order of their positions, which are dense."""
    rows = interactions.c
    title = sa.select(content.c.title).where(
        content.c.owner_id == rows.owner_id,
        content.c.generation == rows.generation,
        content.c.position == rows.content_position,
    )
    statement = (
        sa.select(interactions, title.scalar_subquery().label("content_title"))
        .where(rows.owner_id == export.owner_id, rows.generation == export.demo_generation)
        .where(rows.position >= export.rows_written)
        .order_by(rows.position)
        .limit(limit)
    )
    return (await conn.execute(statement)).mappings().all()


async def write_chunk(conn: AsyncConnection, export: Export, data: bytes) -> None:
    """Write the next chunk of a file."""
    position = export.chunk_count
    chunk = {"owner_id": export.owner_id, "generation": export.generation, "position": position, "data": data}
    await conn.execute(sa.insert(export_chunks).values(chunk))


async def read_chunk(conn: AsyncConnection, export: Export, position: int) -> bytes | None:
    """Read a chunk of a file; None if the export was replaced or deleted."""
    columns = export_chunks.c
    of_export = (columns.owner_id == export.owner_id, columns.generation == export.generation)
    statement = sa.select(columns.data).where(*of_export, columns.position == position)
    data: bytes | None = (await conn.execute(statement)).scalar()
    return data


async def delete_chunks(conn: AsyncConnection, owner_id: UUID) -> None:
    """Delete all chunks of an owner; at most 64 MiB."""
    await conn.execute(sa.delete(export_chunks).where(export_chunks.c.owner_id == owner_id))


async def list_expired(conn: AsyncConnection, *, limit: int) -> list[Export]:
    """Lock and list exports whose files or failures are older than `domain.LIFETIME`, the oldest first."""
    is_over = exports.c.changed_at <= sa.func.now() - domain.LIFETIME
    statement = (
        sa.select(exports)
        .where(EXPORTS.can(Action.EXPIRE), is_over)
        .order_by(exports.c.changed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_export(row) for row in (await conn.execute(statement)).mappings()]
