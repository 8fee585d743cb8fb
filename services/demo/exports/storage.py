"""Rows of exports and their chunks: one function per query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from lifecycle.file_states import Action, State
from lifecycle.files import Chunks
from lifecycle.rows import Rows, reader
from services.demo.exports import domain
from services.demo.exports.domain import Export
from services.demo.exports.schema import export_chunks, exports
from services.demo.schema import content, interactions

_NO_FILE = {"rows_written": 0, "chunk_count": 0, "byte_count": 0, "expires_at": None}


EXPORTS = Rows(
    domain.MACHINE,
    exports,
    read=reader(Export, state=lambda row: State(row["state"])),
    absent=lambda owner_id: Export(owner_id=owner_id),
    changes={
        Action.START: {"job_kind": domain.KIND, **_NO_FILE},
        Action.COMPLETE: {"expires_at": sa.func.now() + domain.LIFETIME},
        Action.CANCEL: _NO_FILE,
        Action.FAIL: {"expires_at": None},
        Action.EXPIRE: _NO_FILE,
    },
)

CHUNKS: Chunks[Export] = Chunks(export_chunks, replaced_code="export_replaced")


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
