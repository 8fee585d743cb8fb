"""The operations on schedules: register, fire, pause, resume, trigger. Their jobs belong to the system owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, postgres, run, transactions
from services.jobs import backlog, domain, isolation, kinds
from services.jobs.convert import MASK, require_unmasked
from services.jobs.schedules import cron, storage
from services.jobs.schedules.cron import Overlap, Registration, Schedule
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

_Row = TypeVar("_Row")

MIN_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 5.0
"""Bounds of the pause between two polls for due schedules. Another replica may register one meanwhile."""
MAX_SCHEDULES = 100
NEXT_TIMES = 5
LATEST_TIMES = 10
POSTPONE = timedelta(minutes=10)
"""The delay of a schedule whose times cannot be computed, for example without its time zone."""


async def register(
    conn: AsyncConnection, registrations: Sequence[Registration], kinds_of_newer: Collection[str] = frozenset()
) -> None:
    """Store the schedules of a worker, except those of kinds that newer workers register. Raises `InvalidArgument`.

    A pause is unchanged. The next time is computed only for a new schedule, or with another cron or time zone; it goes by the
    database's clock.
    """
    if len(registrations) > MAX_SCHEDULES:
        raise errors.InvalidArgument(f"schedules must be at most {MAX_SCHEDULES}.", field="schedules")
    for registration in registrations:
        cron.require(registration)
        if registration.name.startswith(cron.OPERATOR):
            raise errors.InvalidArgument(
                f"Names that begin with {cron.OPERATOR} are reserved for operators.", field="name"
            )
    if len({registration.name for registration in registrations}) < len(registrations):
        raise errors.InvalidArgument("name must be unique.", field="name")
    if not registrations:
        return
    owners, now = await storage.kinds_of(conn, [registration.name for registration in registrations])
    for registration in registrations:
        if _service(owners.get(registration.name, registration.kind)) != _service(registration.kind):
            raise errors.InvalidArgument(f"The schedule {registration.name} belongs to another service.", field="name")
    current = [
        registration
        for registration in registrations
        if not {registration.kind, owners.get(registration.name)} & set(kinds_of_newer)
    ]
    if current:
        await storage.upsert(conn, current, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A time of a schedule that has passed, and its job if there is one."""

    time: datetime
    job_id: UUID | None
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    schedule: Schedule
    next_times: Sequence[datetime]
    runs: Sequence[Run]
    """The newest first."""
    sensitive: frozenset[str]
    """Fields of its payload that operators must not read."""


class Schedules:
    """Fires and changes schedules."""

    def __init__(
        self,
        engine: AsyncEngine,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        registry: kinds.Kinds,
        limits: backlog.Backlog,
    ) -> None:
        self._single = postgres.autocommit(engine)
        self._transaction = transaction
        self._kinds = registry
        self._backlog = limits

    async def run(self) -> None:
        """Fire schedules forever: sleep until the next one is due, five seconds at most."""
        while True:
            _, seconds = await self.fire()
            longest = run.pause(MAX_PAUSE_SECONDS)
            await asyncio.sleep(longest if seconds is None else min(longest, max(MIN_PAUSE_SECONDS, seconds)))

    async def fire(self) -> tuple[int, float | None]:
        """Submit the jobs of all due schedules; return the number of schedules, and the seconds to the next one.

        Replicas share the schedules by SKIP LOCKED. A schedule that fails stays due and is tried again with the next call,
        after the others.
        """
        fired, failed = 0, set[str]()
        while True:
            seconds = await self._seconds_to_next()
            if seconds is None or seconds > 0 or not await self._fire_next(failed):
                return fired - len(failed), None if failed else seconds
            fired += 1

    async def list_all(self) -> list[Schedule]:
        async with self._single.connect() as conn:
            return await storage.list_all(conn)

    async def get(self, name: str) -> Details:
        """Return a schedule with its next and its latest times. Raises `schedule_not_found`."""
        async with self._single.connect() as conn:
            schedule, now = _require_schedule(await storage.get(conn, _require_name(name)))
            registration = schedule.registration
            try:
                next_times = [] if schedule.paused_at else cron.next_times(registration, now, NEXT_TIMES)
                times = cron.latest_times(registration, now, LATEST_TIMES)
            except errors.InvalidArgument:
                # The cron expression of another release, or a time zone that is missing here.
                next_times, times = [], []
            job_ids = {time: cron.job_id(name, time) for time in times}
            states = await storage.states_of(conn, list(job_ids.values()))
        sensitive = (await self._kinds.get([registration.kind]))[registration.kind].sensitive
        runs = [
            Run(time=time, job_id=job_id if job_id in states else None, state=states.get(job_id))
            for time, job_id in job_ids.items()
        ]
        return Details(schedule=schedule, next_times=next_times, runs=runs, sensitive=sensitive)

    async def put(self, registration: Registration) -> Schedule:
        """Create or replace a schedule of operators; a masked value of a sensitive field keeps the stored one.

        Raises `InvalidArgument`, `too_many_schedules`.
        """
        cron.require(registration)
        if not registration.name.startswith(cron.OPERATOR):
            raise errors.InvalidArgument(f"The name must begin with {cron.OPERATOR}", field="name")
        sensitive = (await self._kinds.get([registration.kind]))[registration.kind].sensitive
        async with self._transaction() as tx:
            count, now = await storage.count_of_operators(tx.conn, other_than=registration.name)
            if count >= MAX_SCHEDULES:
                message = f"Operators can have {MAX_SCHEDULES} schedules; delete one first."
                raise errors.ResourceExhausted(message, code="too_many_schedules")
            stored = await storage.get(tx.conn, registration.name)
            if stored and stored[0].registration.kind == registration.kind:
                old = stored[0].registration.payload
                unchanged = {
                    name: old[name] for name in sensitive if registration.payload.get(name) == MASK and name in old
                }
                registration = replace(registration, payload={**registration.payload, **unchanged})
            require_unmasked(registration.payload, sensitive)
            return await storage.put(tx.conn, registration, now=now)

    async def delete(self, name: str) -> None:
        """Delete a schedule of operators. Raises `schedule_not_found`, `schedule_registered`."""
        async with self._transaction() as tx:
            schedule, _ = _require_schedule(await storage.lock(tx.conn, _require_name(name)))
            if not schedule.is_of_operator:
                message = "Workers register this schedule; it can be paused, not deleted."
                raise errors.FailedPrecondition(message, code="schedule_registered", field="name")
            await storage.delete(tx.conn, name)

    async def pause(self, name: str) -> Schedule:
        """Pause a schedule; pausing a paused one changes nothing. Raises `schedule_not_found`."""
        async with self._single.connect() as conn:
            return _require_schedule(await storage.pause(conn, _require_name(name)))

    async def resume(self, name: str) -> Schedule:
        """Resume a schedule from now on. Raises `schedule_not_found`."""
        async with self._transaction() as tx:
            schedule, now = _require_schedule(await storage.lock(tx.conn, _require_name(name)))
            if schedule.paused_at is None:
                return schedule
            next_at = cron.next_time(schedule.registration, now)
            return _require_schedule(await storage.resume(tx.conn, name, next_at))

    async def trigger(self, name: str, job_id: UUID) -> domain.Job:
        """Submit a job of a schedule now; idempotent by job id. Raises `schedule_not_found`, `job_id_taken`."""
        async with self._transaction() as tx:
            schedule, _ = _require_schedule(await storage.lock(tx.conn, _require_name(name)))
            result = (await tx.submit([(job_id, await self._spec(schedule))]))[0]
            if isinstance(result, errors.Error):
                raise result
            job, is_new = result
            if is_new:
                await storage.record_fired(tx.conn, name, job_id)
            return job

    async def _seconds_to_next(self) -> float | None:
        async with transactions.begin(self._single) as conn:
            return await storage.seconds_to_next(conn)

    async def _fire_next(self, failed: set[str]) -> bool:
        """Submit the jobs of one due schedule and advance it; False if other replicas have locked all due schedules.

        Leaves out those that have `failed`, and adds one whose jobs are refused.
        """
        name = ""
        try:
            async with self._transaction() as tx:
                locked = await storage.lock_due(tx.conn, other_than=failed)
                if locked is None:
                    return False
                schedule, now = locked
                name = schedule.registration.name
                await self._fire(tx, schedule, now)
        except Exception as error:
            if not name or (isolation.is_unavailable(error) and not isolation.is_contended(error)):
                raise
            logger.exception("schedule not fired", extra={"schedule": name})
            failed.add(name)
        return True

    async def _fire(self, tx: Transaction, schedule: Schedule, now: datetime) -> None:
        name = schedule.registration.name
        try:
            times = cron.due(schedule, now)
            next_at = cron.next_time(schedule.registration, now)
        except errors.InvalidArgument as error:
            logger.error("schedule postponed", extra={"schedule": name, "cause": error.message})  # noqa: TRY400
            await storage.postpone(tx.conn, name, POSTPONE)
            return
        await self._submit_jobs(tx, schedule, times)
        await storage.advance(tx.conn, name, next_at)

    async def _submit_jobs(self, tx: Transaction, schedule: Schedule, times: Sequence[datetime]) -> None:
        registration = schedule.registration
        if registration.overlap is Overlap.SKIP:
            if await storage.has_unfinished_job(tx.conn, schedule):
                logger.info(
                    "schedule skipped: its previous job has not ended",
                    extra={"schedule": registration.name, "missed": len(times)},
                )
                return
            # The first job would not have ended at the second time.
            times = times[:1]
        if not times:
            return
        spec = await self._spec(schedule)
        if refusal := self._backlog.refusal(spec):
            logger.warning(
                "schedule skipped: too many of its jobs wait",
                extra={"schedule": registration.name, "missed": len(times), "cause": refusal.code},
            )
            return
        results = await tx.submit([(cron.job_id(registration.name, time), spec) for time in times])
        for result in results:
            if isinstance(result, errors.Error):
                # After the restore of a backup a time fires again that has a job already; or the spec is invalid.
                logger.warning("schedule submitted no job", extra={"schedule": registration.name, "cause": result.code})
        submitted = [result[0].job_id for result in results if not isinstance(result, errors.Error) and result[1]]
        if submitted:
            await storage.record_fired(tx.conn, registration.name, submitted[-1])
            logger.info("schedule fired", extra={"schedule": registration.name, "jobs": len(submitted)})

    async def _spec(self, schedule: Schedule) -> domain.Spec:
        registration = schedule.registration
        kind = (await self._kinds.get([registration.kind]))[registration.kind]
        return domain.Spec(
            kind=registration.kind,
            owner_id=domain.SYSTEM,
            payload=registration.payload,
            concurrency_key=schedule.concurrency_key,
            **kind.defaults,
        )


def _service(kind: str) -> str:
    return kind.partition(".")[0]


def _require_name(name: str) -> str:
    """Return a name that a schedule can have. Raises `schedule_not_found`: PostgreSQL refuses some other texts."""
    if not domain.is_name(name):
        raise _not_found()
    return name


def _require_schedule(row: _Row | None) -> _Row:
    if row is None:
        raise _not_found()
    return row


def _not_found() -> errors.NotFound:
    return errors.NotFound("There is no such schedule.", code="schedule_not_found", field="name")
