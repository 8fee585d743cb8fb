"""The operations on exports. Each is one transaction: the transition, its event, the submit of its job."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, outbox, postgres
from lifecycle import files
from lifecycle.file_states import Action, State
from lifecycle.machine import Error
from lifecycle.settler import Settler
from services.demo import idempotency, schema
from services.demo import storage as demo_storage
from services.demo.domain import State as DemoState
from services.demo.exports import domain, storage
from services.demo.exports.declaration import EXPORT
from services.demo.exports.domain import Export

EXPIRY_SECONDS = 60.0
_RUNNING = Error(code="export_running", message="An export is being made; cancel it, or wait for its end.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to a start."""

    export: Export
    job_id: UUID
    is_replayed: bool


class Operations:
    """The operations on exports, over one database."""

    def __init__(self, engine: AsyncEngine, settler: Settler[Export, Action], relay: outbox.Relay) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._settler = settler
        self._relay = relay

    async def start(self, owner_id: UUID, *, key: str) -> Accepted:
        """Accept to export the visible interactions, in place of an earlier export.

        Raises `FailedPrecondition` `demo_not_enabled` or `export_running`, or `AlreadyExists` for the key.
        """
        idempotency.check_key(key)
        job_id = ids.uuid7()
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            if key:
                bound_job = await idempotency.bind_key(tx.conn, owner_id, key, ("export",), job_id)
                if bound_job != job_id:
                    current = await storage.EXPORTS.get(tx.conn, (owner_id,))
                    return Accepted(export=current, job_id=bound_job, is_replayed=True)
            mode = await demo_storage.get_mode(tx.conn, owner_id)
            if mode.state is not DemoState.ENABLED:
                raise domain.refusal(domain.DEMO_NOT_ENABLED)
            columns = {"job_id": job_id, "demo_generation": mode.generation, "row_count": mode.interactions_written}
            started = await EXPORT.open(tx, (owner_id,), Action.START, columns)
            if started is None:
                raise domain.refusal(_RUNNING)
        return Accepted(export=started, job_id=job_id, is_replayed=False)

    async def get(self, owner_id: UUID) -> Export:
        """Read an export. A state that its job has left is repaired first."""
        async with self._single.connect() as conn:
            export = await storage.EXPORTS.get(conn, (owner_id,))
        return (await self._settler.repair(export))[0]

    async def download(self, owner_id: UUID) -> AsyncGenerator[bytes, None]:
        """Return the chunks of a ready file (see `Chunks.read`). Raises `NotFound`."""
        async with self._single.connect() as conn:
            export = await storage.EXPORTS.get(conn, (owner_id,))
        if export.state is not State.READY:
            raise errors.NotFound("There is no exported file.", code="export_not_found")
        return storage.CHUNKS.read(self._engine, export)

    async def expire(self) -> int:
        """Delete the files and failures whose time is over; return how many."""
        return await files.expire(EXPORT, age=domain.LIFETIME, engine=self._engine, relay=self._relay)
