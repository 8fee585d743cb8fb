"""Schedules in the database: one function per query."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.prepared import Prepared
from services.jobs import sql
from services.jobs.domain import SYSTEM
from services.jobs.schedules import cron
from services.jobs.schedules.cron import CatchUp, Overlap, Registration, Schedule
from services.jobs.schema import jobs, kinds, schedules

_now = sa.func.now()


_REGISTERED = ("kind", "payload", "cron", "time_zone", "catch_up", "overlap")
# In the order of the names: workers that register the same schedules cannot deadlock.
_UPSERT = sql.prepared(f"""
INSERT INTO jobs.schedules AS s (name, {", ".join(_REGISTERED)}, next_at, declared_at)
SELECT name, {", ".join(_REGISTERED)}, next_at, CASE WHEN :is_declared THEN now() END
FROM json_populate_recordset(NULL::jobs.schedules, CAST(:rows AS json)) ORDER BY name
ON CONFLICT (name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in (*_REGISTERED, "declared_at"))},
    next_at = CASE WHEN s.paused_at IS NOT NULL THEN NULL
        WHEN s.cron <> excluded.cron OR s.time_zone <> excluded.time_zone THEN excluded.next_at ELSE s.next_at END
""")
_KINDS_OF = sql.prepared("""
SELECT clock.now, s.name, s.kind FROM (SELECT now()) clock
LEFT JOIN jobs.schedules s ON s.name = ANY(CAST(:names AS text[]))
""")

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
    """Store the schedules of a worker; a pause is unchanged, and so is the next time unless cron or time zone change."""
    await _store(conn, registrations, now=now, is_declared=True)


async def put(conn: AsyncConnection, registration: Registration, *, now: datetime) -> Schedule:
    """Store a schedule of operators, as `upsert` does."""
    await _store(conn, [registration], now=now, is_declared=False)
    statement = sa.select(schedules).where(schedules.c.name == registration.name)
    return _schedule((await conn.execute(statement)).mappings().one())


async def _store(
    conn: AsyncConnection, registrations: Sequence[Registration], *, now: datetime, is_declared: bool
) -> None:
    rows = [
        {"name": registration.name, "next_at": cron.next_time(registration, now).isoformat()}
        | {name: getattr(registration, name) for name in _REGISTERED}
        for registration in registrations
    ]
    await _UPSERT.execute(conn, {"rows": json.dumps(rows), "is_declared": is_declared})


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
    rows = await _KINDS_OF.execute(conn, {"names": list(names)})
    return {name: kind for _, name, kind in rows if name}, rows[0][0]


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
