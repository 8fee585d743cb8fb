"""Rows of data exports and their chunks: one function a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from lifecycle.rows import Rows, common
from services.auth.data_export import domain
from services.auth.data_export.domain import Action, DataExport, State
from services.auth.data_export.schema import data_export_chunks, data_exports

EMPTY = {"chunk_count": 0, "byte_count": 0}


def _data_export(row: Mapping[Any, Any]) -> DataExport:
    own = {name: row[name] for name in ("user_id", "job_kind", "chunk_count", "byte_count", "expires_at")}
    return DataExport(**common(row), **own, state=State(row["state"]))


DATA_EXPORTS = Rows(
    domain.MACHINE,
    data_exports,
    read=_data_export,
    absent=lambda user_id: DataExport(user_id=user_id),
    changes={
        Action.START: {"job_kind": domain.KIND, "expires_at": None, **EMPTY},
        Action.COMPLETE: {"expires_at": sa.func.now() + domain.LIFETIME},
        Action.CANCEL: EMPTY,
        Action.FAIL: EMPTY,
        Action.EXPIRE: {"expires_at": None, **EMPTY},
    },
)


async def write_chunk(conn: AsyncConnection, data_export: DataExport, data: bytes) -> None:
    """Write the next chunk of an archive."""
    key = {"user_id": data_export.user_id, "generation": data_export.generation, "position": data_export.chunk_count}
    await conn.execute(sa.insert(data_export_chunks).values(**key, data=data))


async def read_chunk(conn: AsyncConnection, data_export: DataExport, position: int) -> bytes | None:
    """Read a chunk of an archive; None if the export was replaced or deleted."""
    columns = data_export_chunks.c
    of_export = (columns.user_id == data_export.user_id, columns.generation == data_export.generation)
    statement = sa.select(columns.data).where(*of_export, columns.position == position)
    data: bytes | None = (await conn.execute(statement)).scalar()
    return data


async def delete_chunks(conn: AsyncConnection, user_id: UUID) -> None:
    """Delete all chunks of a user; at most 64 MiB."""
    await conn.execute(sa.delete(data_export_chunks).where(data_export_chunks.c.user_id == user_id))


async def list_expired(conn: AsyncConnection, *, limit: int) -> list[DataExport]:
    """Lock and list exports whose archives or failures are older than `domain.LIFETIME`, the oldest first."""
    is_over = data_exports.c.changed_at <= sa.func.now() - domain.LIFETIME
    statement = (
        sa.select(data_exports)
        .where(DATA_EXPORTS.can(Action.EXPIRE), is_over)
        .order_by(data_exports.c.changed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_data_export(row) for row in (await conn.execute(statement)).mappings()]
