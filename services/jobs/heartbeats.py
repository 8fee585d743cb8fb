"""Heartbeats: each renews all leases of a worker by one statement."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from services.jobs import storage
from services.jobs.domain import State

Leases = list[tuple[UUID, int, State]]


class Heartbeats:
    """Renews leases. The same heartbeat sent again, while it runs, shares its result.

    A worker sends a slow heartbeat again on a new connection and cancels the call that is answered later. To end its statement
    would take another connection to PostgreSQL, so a cancelled call leaves it running.
    """

    def __init__(self, engine: AsyncEngine, *, lease: timedelta) -> None:
        self._single = postgres.autocommit(engine)
        self._lease = lease
        self._running: dict[tuple[str, str, tuple[tuple[UUID, int], ...]], asyncio.Task[Leases]] = {}

    async def __call__(self, worker: str, held: storage.Attempts, kind_prefix: str) -> Leases:
        """Renew the leases of a worker; return those that it still holds."""
        key = (worker, kind_prefix, tuple(held))
        if (task := self._running.get(key)) is None:
            task = self._running[key] = asyncio.create_task(self._renew(worker, held, kind_prefix))

            def end(ended: asyncio.Task[Leases]) -> None:
                del self._running[key]
                # Every call may have been cancelled: nobody else reads the error then.
                if not ended.cancelled():
                    ended.exception()

            task.add_done_callback(end)
        return await asyncio.shield(task)

    async def _renew(self, worker: str, held: storage.Attempts, kind_prefix: str) -> Leases:
        async with self._single.connect() as conn:
            renewed = await storage.renew_leases(
                conn, worker=worker, held=held, lease=self._lease, kind_prefix=kind_prefix
            )
            if len(renewed) < len(held):
                missing = set(held) - _keys(renewed)
                locked = await storage.read_leases(conn, worker=worker, held=list(missing), kind_prefix=kind_prefix)
                renewed += locked
                if lost := missing - _keys(locked):
                    # The worker lives, so it has not crashed.
                    await storage.forgive_crashes(conn, worker=worker, lost=sorted(lost))
        return renewed


def _keys(leases: Leases) -> set[tuple[UUID, int]]:
    return {(job_id, attempt) for job_id, attempt, _ in leases}
