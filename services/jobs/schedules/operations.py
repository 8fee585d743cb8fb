"""What is done with schedules: they are declared, fire, are paused and triggered. Their jobs belong to the system."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, postgres
from services.jobs import domain, kinds
from services.jobs import storage as job_storage
from services.jobs.schedules import cron, storage
from services.jobs.schedules.cron import Declaration, Overlap, Schedule
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

_Found = TypeVar("_Found")

FIRE_SECONDS = 1.0
DECLARED_MOST = 100
PUT_OFF = timedelta(minutes=10)
"""After so long a schedule whose times cannot be read (its time zone is gone) is looked at again."""


async def register(conn: AsyncConnection, declarations: Sequence[Declaration], now: datetime) -> None:
    """Store the schedules that a worker says it has. Raises `InvalidArgument` naming the field.

    A pause stays, and the next time is computed anew only for a new one, or with another cron or time zone.
    """
    if len(declarations) > DECLARED_MOST:
        raise errors.InvalidArgument(f"schedules must be at most {DECLARED_MOST}.", field="schedules")
    for declared in declarations:
        cron.require(declared)
    if len({declared.name for declared in declarations}) < len(declarations):
        raise errors.InvalidArgument("name must not come twice.", field="name")
    if not declarations:
        return
    owners = await storage.kinds_of(conn, [declared.name for declared in declarations])
    for declared in declarations:
        if _service(owners.get(declared.name, declared.kind)) != _service(declared.kind):
            raise errors.InvalidArgument(f"The schedule {declared.name} belongs to another service.", field="name")
    await storage.upsert(conn, declarations, now=now)


class Schedules:
    """The operations on schedules, over one database."""

    def __init__(
        self,
        engine: AsyncEngine,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        known: kinds.Kinds,
    ) -> None:
        self._single = postgres.autocommit(engine)
        self._transaction = transaction
        self._kinds = known

    async def fire(self) -> int:
        """Make the jobs of all schedules that are due; gives how many schedules were. Replicas share them by SKIP LOCKED."""
        fired = 0
        while await self._is_due():
            if not await self._fire_next():
                break
            fired += 1
        return fired

    async def list_all(self) -> list[Schedule]:
        """Read all schedules, by name."""
        async with self._single.connect() as conn:
            return await storage.list_all(conn)

    async def pause(self, name: str) -> Schedule:
        """Stop a schedule. Pausing a paused one is no error. Raises `schedule_not_found`."""
        async with self._single.connect() as conn:
            return _found(await storage.pause(conn, name))

    async def resume(self, name: str) -> Schedule:
        """Let a schedule go on with the next time that comes. Raises `schedule_not_found`."""
        async with self._transaction() as tx:
            schedule, now = _found(await storage.lock(tx.conn, name))
            if schedule.paused_at is None:
                return schedule
            next_at = cron.next_time(schedule.declaration, now)
            return _found(await storage.resume(tx.conn, name, next_at))

    async def trigger(self, name: str, job_id: UUID) -> domain.Job:
        """Make a job of a schedule now; the same id again gives the same job. Raises `schedule_not_found`, `job_id_taken`."""
        async with self._transaction() as tx:
            schedule, _ = _found(await storage.lock(tx.conn, name))
            result = (await tx.submit([(job_id, await self._spec(schedule))]))[0]
            if isinstance(result, errors.Error):
                raise result
            job, is_new = result
            if is_new:
                await storage.note_fired(tx.conn, name, job_id)
            return job

    async def _is_due(self) -> bool:
        async with self._single.connect() as conn:
            return await storage.is_due(conn)

    async def _fire_next(self) -> bool:
        """Make the jobs of one due schedule, and advance it with them; False if others have locked all that are due."""
        async with self._transaction() as tx:
            locked = await storage.lock_due(tx.conn)
            if locked is None:
                return False
            schedule, now = locked
            name = schedule.declaration.name
            try:
                times = cron.due(schedule, now)
                next_at = cron.next_time(schedule.declaration, now)
            except errors.InvalidArgument as error:
                logger.error("schedule put off", extra={"schedule": name, "cause": error.message})  # noqa: TRY400
                await storage.put_off(tx.conn, name, PUT_OFF)
                return True
            await self._make_jobs(tx, schedule, times)
            await storage.advance(tx.conn, name, next_at)
        return True

    async def _make_jobs(self, tx: Transaction, schedule: Schedule, times: Sequence[datetime]) -> None:
        declared = schedule.declaration
        if declared.overlap is Overlap.SKIP:
            if await self._is_under_way(tx.conn, schedule.last_job_id):
                logger.info("schedule left out a time", extra={"schedule": declared.name, "missed": len(times)})
                return
            # The first one is under way when the second one would come.
            times = times[:1]
        if not times:
            return
        spec = await self._spec(schedule)
        results = await tx.submit([(cron.job_id(declared.name, time), spec) for time in times])
        for result in results:
            if isinstance(result, errors.Error):
                # Made before, by what was restored from a backup since; or never to be made.
                logger.warning("schedule made no job", extra={"schedule": declared.name, "cause": result.code})
        made = [result[0].job_id for result in results if not isinstance(result, errors.Error) and result[1]]
        if made:
            await storage.note_fired(tx.conn, declared.name, made[-1])
            logger.info("schedule fired", extra={"schedule": declared.name, "jobs": len(made)})

    async def _is_under_way(self, conn: AsyncConnection, job_id: UUID | None) -> bool:
        job = await job_storage.get_job(conn, job_id) if job_id else None
        return job is not None and job.state not in domain.TERMINAL

    async def _spec(self, schedule: Schedule) -> domain.Spec:
        declared = schedule.declaration
        kind = (await self._kinds.get([declared.kind]))[declared.kind]
        return domain.Spec(
            kind=declared.kind,
            owner_id=domain.SYSTEM,
            payload=declared.payload,
            concurrency_key=schedule.concurrency_key,
            **kind.defaults,
        )


def _service(kind: str) -> str:
    return kind.partition(".")[0]


def _found(found: _Found | None) -> _Found:
    if found is None:
        raise errors.NotFound("There is no such schedule.", code="schedule_not_found", field="name")
    return found
