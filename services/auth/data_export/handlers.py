"""The handler of the job `auth.export-data`: chunks are written in fenced transactions.

A superseded attempt writes nothing. The next one begins again: rows may have changed, and the archive is small.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import outbox
from lifecycle.attempts import FencedAttempt
from lifecycle.file_states import Action
from services.auth.data_export import domain, storage
from services.auth.data_export.archive import Archive
from services.auth.data_export.declaration import DATA_EXPORT
from services.auth.data_export.domain import DataExport
from services.auth.data_export.sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    engine: AsyncEngine
    relay: outbox.Relay
    sources: Sources
    max_bytes: int = domain.MAX_BYTES

    def kind(self) -> worker.Kind[Any]:
        return worker.Kind(domain.KIND, self.export, notify_owner=True)

    async def export(self, context: worker.Context) -> dict[str, Any]:
        """Write the archive; its last chunk makes it ready. Cancelling deletes it."""
        attempt = FencedAttempt(DATA_EXPORT, self.engine, self.relay, context)
        async with attempt.begin() as tx:
            current, is_done = tx.resource, tx.is_done
            if not is_done:
                await storage.CHUNKS.delete(tx.conn, current)
                current = await tx.update(storage.EMPTY)
        if is_done:
            return {"bytes": current.byte_count}
        archive = Archive(str(current.user_id))
        try:
            return await self._export(context, attempt, archive, current)
        finally:
            archive.discard()

    async def _export(
        self, context: worker.Context, attempt: FencedAttempt[DataExport, Action], archive: Archive, current: DataExport
    ) -> dict[str, Any]:
        left_out: dict[str, str] = {}
        services = self.sources.services
        for done, (words, read) in enumerate(services):
            await context.progress(done, len(services) + 1, words)
            async with aclosing(read(current.user_id)) as parts:
                async for part in parts:
                    context.raise_if_cancelled()
                    if part.reason:
                        left_out[part.table] = part.reason
                        continue
                    archive.write(part.table, part.rows)
                    while archive.pending >= domain.CHUNK_BYTES:
                        current = await self._write(attempt, archive.take(domain.CHUNK_BYTES))
        await context.progress(len(services), len(services) + 1, "Finishing the archive")
        archive.close(left_out)
        while archive.pending > domain.CHUNK_BYTES:
            current = await self._write(attempt, archive.take(domain.CHUNK_BYTES))
        current = await self._write(attempt, archive.take(domain.CHUNK_BYTES), is_last=True)
        await context.progress(len(services) + 1, len(services) + 1, "Your data is exported")
        return {"bytes": current.byte_count}

    async def _write(
        self, attempt: FencedAttempt[DataExport, Action], data: bytes, *, is_last: bool = False
    ) -> DataExport:
        async with attempt.fenced() as tx:
            before = tx.resource
            if before.byte_count + len(data) > self.max_bytes:
                raise worker.JobFailed(domain.TOO_LARGE.code, domain.TOO_LARGE.message, retryable=False)
            await storage.CHUNKS.write(tx.conn, before, data)
            columns = {"chunk_count": before.chunk_count + 1, "byte_count": before.byte_count + len(data)}
            return await tx.move(Action.COMPLETE, columns) if is_last else await tx.update(columns)
