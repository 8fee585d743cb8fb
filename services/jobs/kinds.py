"""Kinds of jobs: what their workers declare of them, and what every submit and claim has to know."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import postgres
from services.jobs import domain, schema
from services.jobs.schema import kinds

FRESH_SECONDS = 1.0
ALIVE = timedelta(minutes=2)
CACHED = 10_000
DEFAULTS = ("max_attempts", "backoff", "max_backoff", "attempt_timeout", "total_timeout", "priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a worker says of a kind that it serves; see KindDeclaration in the protos."""

    kind: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    notifies: bool = False
    undoes: bool = False
    retention: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        """Refuse what the bounds forbid."""
        domain.require_kind(self.kind + domain.UNDO if self.undoes else self.kind, "kind")
        # The bounds of a default are those of the field that it stands for.
        domain.Spec(kind=self.kind, owner_id=domain.SYSTEM, payload={}, **self.defaults)
        domain.require_retention(self.retention)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What submits and claims have to know of a kind."""

    given: Mapping[str, Any]
    """What a spec that leaves it open gets."""
    is_limited: bool
    declared_at: datetime | None

    @property
    def has_worker(self) -> bool:
        """Whether a worker declared it lately."""
        return self.declared_at is not None and datetime.now(UTC) - self.declared_at < ALIVE


class Kinds:
    """The kinds, as they stood at most a second ago."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)
        self._cached: dict[str, tuple[float, Kind]] = {}

    async def get(self, names: Collection[str]) -> Mapping[str, Kind]:
        """Give kinds; one that nobody has heard of yet is noted. Names that no kind can have are left out."""
        oldest = time.monotonic() - FRESH_SECONDS
        known = {name: cached for name in names if (cached := self._cached.get(name)) and cached[0] > oldest}
        missing = [name for name in names if name not in known and (name == domain.ALL_KINDS or domain.is_name(name))]
        if missing:
            known |= await self._load(missing)
        return {name: kind for name, (_, kind) in known.items()}

    async def are_limited(self, names: Collection[str]) -> bool:
        """Say whether claims of these kinds have limits to look at."""
        return any(kind.is_limited for kind in (await self.get([*names, domain.ALL_KINDS])).values())

    def forget(self) -> None:
        """Read everything anew."""
        self._cached.clear()

    async def _load(self, names: Iterable[str]) -> dict[str, tuple[float, Kind]]:
        wanted = sorted(set(names))
        async with self._single.connect() as conn:
            rows = await _read(conn, wanted)
            if len(rows) < len(wanted):
                await conn.execute(_NOTE, {"names": wanted})
                rows = await _read(conn, wanted)
        if len(self._cached) > CACHED:
            self._cached.clear()
        loaded = {row["kind"]: (time.monotonic(), _kind(row)) for row in rows}
        self._cached |= loaded
        return loaded


async def register(conn: AsyncConnection, worker: str, declared: Collection[Declaration]) -> None:
    """Note what a worker serves. Limits and pauses stay as they are."""
    # In one order: two workers of a service declare the same.
    for one in sorted(declared, key=lambda one: one.kind):
        said = {
            **{name: one.defaults.get(name) for name in DEFAULTS},
            "notifies": one.notifies,
            "undoes": one.undoes,
            "retention": one.retention,
            "declared_at": sa.func.now(),
        }
        statement = postgresql.insert(kinds).values(kind=one.kind, **said)
        await conn.execute(statement.on_conflict_do_update(index_elements=[kinds.c.kind], set_=said))
    seen = {"kinds": sorted(one.kind for one in declared), "seen_at": sa.func.now()}
    noted = postgresql.insert(schema.workers).values(worker=worker, **seen)
    await conn.execute(noted.on_conflict_do_update(index_elements=[schema.workers.c.worker], set_=seen))


_NOTE = sa.text("INSERT INTO jobs.kinds (kind) SELECT unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING")
_READ = sa.select(kinds).where(kinds.c.kind == sa.any_(sa.bindparam("names", type_=sa.ARRAY(sa.Text))))


async def _read(conn: AsyncConnection, names: list[str]) -> list[Mapping[str, Any]]:
    return [dict(row) for row in (await conn.execute(_READ, {"names": names})).mappings()]


def _kind(row: Mapping[str, Any]) -> Kind:
    given = {name: row[name] for name in DEFAULTS if row[name] is not None}
    return Kind(
        given={**given, "notifies": row["notifies"], "undoes": row["undoes"]},
        is_limited=row["is_limited"],
        declared_at=row["declared_at"],
    )
