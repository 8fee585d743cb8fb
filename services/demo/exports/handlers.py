"""The handler of the job `demo.export`: each chunk is written in a fenced transaction that changes the counters too.

A superseded attempt writes nothing, and the next one continues after the last chunk.
"""

from __future__ import annotations

import asyncio
from typing import Any

import worker
from lifecycle.attempts import FencedAttempt, FencedTransaction
from lifecycle.file_states import Action, State
from lifecycle.machine import Error
from services.demo import storage as demo_storage
from services.demo.domain import State as DemoState
from services.demo.exports import csv_file, domain, storage
from services.demo.exports.declaration import EXPORT
from services.demo.exports.domain import Export
from services.demo.handlers import Dependencies

CHUNK_ROWS = 1_000


async def export(
    dependencies: Dependencies, context: worker.Context, *, max_bytes: int = domain.MAX_BYTES
) -> dict[str, Any]:
    """Write the file, one chunk per transaction; the last one makes it ready. Cancelling deletes it."""
    attempt = FencedAttempt(EXPORT, dependencies.engine, dependencies.relay, context)
    async with attempt.begin() as tx:
        current, is_done = tx.resource, tx.is_done
    while not is_done:
        context.raise_if_cancelled()
        async with attempt.fenced() as tx:
            current = await _write_chunk(tx, min(CHUNK_ROWS, dependencies.write_batch), max_bytes)
        is_done = current.state is State.READY
        await context.progress(current.rows_written, current.row_count, "Writing reviews")
        if not is_done:
            await asyncio.sleep(dependencies.pause_seconds)
    return {"rows": current.row_count, "bytes": current.byte_count}


async def _write_chunk(tx: FencedTransaction[Export, Action], limit: int, max_bytes: int) -> Export:
    before = tx.resource
    row_limit = min(limit, before.row_count - before.rows_written)
    rows = await storage.read_interactions(tx.conn, before, limit=row_limit)
    # Demo mode is read after the rows: if it is still enabled, none of them was removed before they were read.
    mode = await demo_storage.get_mode(tx.conn, before.owner_id)
    is_visible = (mode.state, mode.generation) == (DemoState.ENABLED, before.demo_generation)
    if not is_visible or len(rows) != row_limit:
        raise _failed(domain.DEMO_NOT_ENABLED)
    if not rows and before.chunk_count:
        # The job failed after its last chunk, and is retried.
        return await tx.move(Action.COMPLETE)
    data = csv_file.encode(rows, has_header=before.chunk_count == 0)
    if len(data) > domain.MAX_CHUNK_BYTES or before.byte_count + len(data) > max_bytes:
        raise _failed(domain.TOO_LARGE)
    await storage.CHUNKS.write(tx.conn, before, data)
    columns = {
        "rows_written": before.rows_written + len(rows),
        "chunk_count": before.chunk_count + 1,
        "byte_count": before.byte_count + len(data),
    }
    if columns["rows_written"] == before.row_count:
        return await tx.move(Action.COMPLETE, columns)
    return await tx.update(columns)


def _failed(error: Error) -> worker.JobFailed:
    return worker.JobFailed(error.code, error.message, retryable=False)
