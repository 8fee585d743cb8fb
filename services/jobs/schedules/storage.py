"""Schedules in the database: one function per query."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.prepared import Prepared
from services.jobs.domain import SYSTEM
from services.jobs.schedules import cron
from services.jobs.schedules.cron import CatchUp, Overlap, Registration, Schedule
from services.jobs.schema import jobs, kinds, schedules

_now = sa.func.now()


def _upsert(rows: Sequence[Mapping[str, Any]]) -> postgresql.Insert:
    insert = postgresql.insert(schedules).values(rows)
    new = insert.excluded
    is_other_time = sa.or_(schedules.c.cron != new.cron, schedules.c.time_zone != new.time_zone)
    next_at = sa.case(
        (schedules.c.paused_at.is_not(None), sa.null()), (is_other_time, new.next_at), else_=schedules.c.next_at
    )
    updates = {name: new[name] for name in rows[0] if name != "name"}
    return insert.on_conflict_do_update(index_elements=[schedules.c.name], set_={**updates, "next_at": next_at})


DROPPED_AFTER = timedelta(minutes=2)
"""Workers register every 30 s. A schedule that only other workers of its service still register was removed from the program."""

_service_of_kind = sa.func.split_part(kinds.c.kind, ".", 1)
_is_registered = ~sa.exists().where(
    _service_of_kind == sa.func.split_part(schedules.c.kind, ".", 1),
    kinds.c.declared_at > schedules.c.declared_at + DROPPED_AFTER,
)

_SECONDS_TO_NEXT = Prepared(
    sa.select(sa.cast(sa.func.extract("epoch", sa.func.min(schedules.c.next_at) - _now), sa.Double)).where(
        _is_registered
    )
)
_LOCK_DUE = (
    sa.select(schedules, _now.label("now"))
    .where(
        schedules.c.next_at <= _now,
        _is_registered,
        schedules.c.name != sa.all_(sa.bindparam("other_than", type_=sa.ARRAY(sa.Text))),
    )
    .order_by(schedules.c.next_at)
    .limit(1)
    .with_for_update(skip_locked=True, of=schedules)
)
_LOCK_OPERATORS = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("jobs.schedules of operators")))
_LOCK = sa.select(schedules, _now.label("now")).where(schedules.c.name == sa.bindparam("called")).with_for_update()


async def upsert(conn: AsyncConnection, registrations: Sequence[Registration], *, now: datetime) -> None:
    """Store at least one schedule; a pause is unchanged, and so is the next time unless cron or time zone change.

    Rows are written in the order of their names: workers that register the same schedules cannot deadlock.
    """
    ordered = sorted(registrations, key=lambda registration: registration.name)
    await conn.execute(_upsert([{**_row(registration, now), "declared_at": _now} for registration in ordered]))


async def put(conn: AsyncConnection, registration: Registration, *, now: datetime) -> Schedule:
    """Store a schedule of operators, as `upsert` does."""
    row = {**_row(registration, now), "declared_at": None}
    return _schedule((await conn.execute(_upsert([row]).returning(schedules))).mappings().one())


def _row(registration: Registration, now: datetime) -> dict[str, Any]:
    """Return the columns that both kinds of schedules have."""
    return {
        "name": registration.name,
        "kind": registration.kind,
        "payload": registration.payload,
        "cron": registration.cron,
        "time_zone": registration.time_zone,
        "catch_up": registration.catch_up,
        "overlap": registration.overlap,
        "next_at": cron.next_time(registration, now),
    }


async def count_of_operators(conn: AsyncConnection, *, other_than: str) -> tuple[int, datetime]:
    """Lock out other changes of operators' schedules; return their number without one, and the database's time."""
    await conn.execute(_LOCK_OPERATORS)
    count = sa.select(sa.func.count()).where(schedules.c.declared_at.is_(None), schedules.c.name != other_than)
    row = (await conn.execute(sa.select(count.scalar_subquery(), _now))).one()
    return row[0], row[1]


async def get(conn: AsyncConnection, name: str) -> tuple[Schedule, datetime] | None:
    """Return a schedule and the database's time; None for an unknown name."""
    statement = sa.select(schedules, _now.label("now")).where(schedules.c.name == name)
    return _with_time((await conn.execute(statement)).mappings().first())


async def delete(conn: AsyncConnection, name: str) -> None:
    await conn.execute(sa.delete(schedules).where(schedules.c.name == name))


async def states_of(conn: AsyncConnection, job_ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """Return the states of the jobs that exist."""
    statement = sa.select(jobs.c.job_id, jobs.c.state).where(jobs.c.job_id.in_(job_ids))
    return {row.job_id: row.state for row in (await conn.execute(statement)).all()}


async def kinds_of(conn: AsyncConnection, names: Sequence[str]) -> tuple[dict[str, str], datetime]:
    """Return the kinds of existing schedules by name, and the database's time."""
    clock = sa.select(_now.label("now")).subquery()
    statement = sa.select(clock.c.now, schedules.c.name, schedules.c.kind).select_from(
        clock.outerjoin(schedules, schedules.c.name.in_(names))
    )
    rows = (await conn.execute(statement)).all()
    return {row.name: row.kind for row in rows if row.name}, rows[0].now


async def seconds_to_next(conn: AsyncConnection) -> float | None:
    """Return the seconds until the next schedule is due, at most 0 if one is; None if there is no schedule."""
    [(seconds,)] = await _SECONDS_TO_NEXT.execute(conn, {})
    return None if seconds is None else float(seconds)


async def lock_due(conn: AsyncConnection, *, other_than: Collection[str]) -> tuple[Schedule, datetime] | None:
    """Lock the schedule that is due longest, and return it with the database's time; None if all other due ones are locked."""
    return _with_time((await conn.execute(_LOCK_DUE, {"other_than": list(other_than)})).mappings().first())


async def lock(conn: AsyncConnection, name: str) -> tuple[Schedule, datetime] | None:
    """Lock a schedule, and return it with the database's time; None for an unknown name."""
    return _with_time((await conn.execute(_LOCK, {"called": name})).mappings().first())


async def has_unfinished_job(conn: AsyncConnection, schedule: Schedule) -> bool:
    """Return whether a job of a schedule has not ended, a triggered one included."""
    is_unfinished = sa.exists().where(
        jobs.c.owner_id == SYSTEM, jobs.c.concurrency_key == schedule.concurrency_key, jobs.c.finished_at.is_(None)
    )
    return bool((await conn.execute(sa.select(is_unfinished))).scalar_one())


async def advance(conn: AsyncConnection, name: str, next_at: datetime) -> None:
    """Set the next time of a schedule that is not paused."""
    await _set(conn, name, next_at=next_at)


async def postpone(conn: AsyncConnection, name: str, delay: timedelta) -> None:
    """Delay a schedule whose times cannot be computed."""
    await _set(conn, name, next_at=_now + sa.bindparam("delay", delay, type_=sa.Interval))


async def record_fired(conn: AsyncConnection, name: str, job_id: UUID) -> None:
    """Store the latest job of a schedule."""
    await _set(conn, name, last_at=_now, last_job_id=job_id)


async def pause(conn: AsyncConnection, name: str) -> Schedule | None:
    """Pause a schedule; None for an unknown name."""
    return await _set(conn, name, paused_at=sa.func.coalesce(schedules.c.paused_at, _now), next_at=None)


async def resume(conn: AsyncConnection, name: str, next_at: datetime) -> Schedule | None:
    """Resume a schedule at a time; None for an unknown name."""
    return await _set(conn, name, paused_at=None, next_at=next_at)


async def list_all(conn: AsyncConnection) -> list[Schedule]:
    return [_schedule(row) for row in (await conn.execute(sa.select(schedules).order_by(schedules.c.name))).mappings()]


async def delete_unregistered(conn: AsyncConnection, *, age: timedelta) -> int:
    """Delete schedules that no worker has registered within `age`, but no paused one; return their number."""
    # A worker that comes back would otherwise register the schedule again without its pause.
    is_unregistered = sa.and_(schedules.c.declared_at < _now - age, schedules.c.paused_at.is_(None))
    return (await conn.execute(sa.delete(schedules).where(is_unregistered))).rowcount


async def _set(conn: AsyncConnection, name: str, **values: Any) -> Schedule | None:
    statement = sa.update(schedules).where(schedules.c.name == name).values(**values).returning(schedules)
    row = (await conn.execute(statement)).mappings().first()
    return _schedule(row) if row else None


def _with_time(row: Mapping[Any, Any] | None) -> tuple[Schedule, datetime] | None:
    return (_schedule(row), row["now"]) if row else None


def _schedule(row: Mapping[Any, Any]) -> Schedule:
    return Schedule(
        registration=Registration(
            name=row["name"],
            kind=row["kind"],
            payload=row["payload"],
            cron=row["cron"],
            time_zone=row["time_zone"],
            catch_up=CatchUp(row["catch_up"]),
            overlap=Overlap(row["overlap"]),
        ),
        paused_at=row["paused_at"],
        next_at=row["next_at"],
        last_at=row["last_at"],
        last_job_id=row["last_job_id"],
    )
