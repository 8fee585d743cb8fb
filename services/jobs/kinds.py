"""Kinds of jobs: the defaults and limits that every submit and claim needs, as workers register them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, postgres
from services.jobs import domain, sql, worker_versions
from services.jobs.schema import kinds

FRESH_SECONDS = 2.0
MAX_CACHED_KINDS = 10_000
MAX_SCHEMA_BYTES = 16_384
DEFAULTS = ("max_attempts", "backoff", "max_backoff", "attempt_timeout", "total_timeout", "priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A kind as its worker registers it; see KindRegistration in the protos."""

    kind: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    notify_owner: bool = False
    has_undo: bool = False
    retention: timedelta = timedelta(days=7)
    sensitive: tuple[str, ...] = ()
    payload_schema: str = ""
    """The JSON Schema of its payload; empty: unknown."""

    def __post_init__(self) -> None:
        """Validate the bounds. Raises `InvalidArgument`."""
        domain.require_kind(self.kind + domain.UNDO if self.has_undo else self.kind, "kind")
        # A default has the bounds of the field that it replaces.
        domain.Spec(kind=self.kind, owner_id=domain.SYSTEM, payload={}, **self.defaults).validate()
        domain.require_retention(self.retention)
        if len(self.sensitive) > 50 or any(len(name) > 100 or "\x00" in name for name in self.sensitive):
            message = "sensitive_fields must be at most 50 names of at most 100 characters."
            raise errors.InvalidArgument(message, field="sensitive_fields")
        if self.payload_schema and not _is_schema(self.payload_schema):
            message = f"payload_schema must be a JSON object of at most {MAX_SCHEMA_BYTES:,} bytes, without NUL."
            raise errors.InvalidArgument(message, field="payload_schema")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """What operators see about a worker process."""

    host: str = ""
    version: str = ""
    concurrency: int = 0
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind for submits and claims."""

    defaults: Mapping[str, Any]
    """Values for the fields that a spec leaves unset."""
    is_limited: bool
    is_paused: bool
    sensitive: frozenset[str]
    """Fields of the payload that only the handler reads."""
    is_registered: bool
    """Whether a worker has ever registered it."""
    has_worker: bool
    """Whether a worker registered it in the last two minutes, by the clock of the database."""


class Kinds:
    """The kinds, cached for two seconds."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)
        self._cached: dict[str, tuple[float, Kind]] = {}
        self._forgotten = 0

    async def get(self, names: Collection[str]) -> Mapping[str, Kind]:
        """Return kinds by name; an unknown kind is inserted. Invalid names are left out."""
        oldest = time.monotonic() - FRESH_SECONDS
        cached = {name: entry for name in names if (entry := self._cached.get(name)) and entry[0] > oldest}
        missing = [name for name in names if name not in cached and (name == domain.ALL_KINDS or domain.is_name(name))]
        if missing:
            cached |= await self._load(missing)
        return {name: kind for name, (_, kind) in cached.items()}

    async def find(self, name: str) -> Kind | None:
        """Return a kind, or None; unlike `get` it inserts nothing. Reads the database."""
        async with self._single.connect() as conn:
            rows = await _read(conn, [name])
        return _kind(rows[0]) if rows else None

    async def are_limited(self, names: Collection[str]) -> bool:
        """Return whether claims of these kinds must check limits."""
        return any(kind.is_limited for kind in (await self.get([*names, domain.ALL_KINDS])).values())

    async def are_paused(self, names: Collection[str]) -> bool:
        """Return whether claims of one of these kinds, or of all kinds, are paused."""
        return any(kind.is_paused for kind in (await self.get([*names, domain.ALL_KINDS])).values())

    def forget(self) -> None:
        """Clear the cache. What is being read meanwhile is not kept: it may be older than the change."""
        self._cached.clear()
        self._forgotten += 1

    async def _load(self, names: Iterable[str]) -> dict[str, tuple[float, Kind]]:
        missing, forgotten = sorted(set(names)), self._forgotten
        async with self._single.connect() as conn:
            rows = await _read(conn, missing)
            if len(rows) < len(missing):
                await conn.execute(_INSERT, {"names": missing})
                rows = await _read(conn, missing)
        if len(self._cached) > MAX_CACHED_KINDS:
            self._cached.clear()
        loaded = {row["kind"]: (time.monotonic(), _kind(row)) for row in rows}
        if forgotten == self._forgotten:
            self._cached |= loaded
        return loaded


async def register(
    conn: AsyncConnection, worker: str, registrations: Collection[Registration], info: WorkerInfo
) -> frozenset[str]:
    """Store the information about a worker, and its kinds except those of newer versions; return the latter.

    Limits and pauses are unchanged.
    """
    names = sorted(registration.kind for registration in registrations)
    await worker_versions.lock(conn, names)
    await _UPSERT_WORKER.execute(conn, {"worker": worker, "kinds": names, **dataclasses.asdict(info)})
    of_newer = await worker_versions.kinds_of_newer(conn, info.version)
    rows = [
        {
            "kind": registration.kind,
            **{name: _json(registration.defaults.get(name)) for name in DEFAULTS},
            "notifies": registration.notify_owner,
            "undoes": registration.has_undo,
            "retention": _json(registration.retention),
            "sensitive": registration.sensitive,
            "payload_schema": registration.payload_schema,
        }
        for registration in registrations
        if registration.kind not in of_newer
    ]
    await _UPSERT_KINDS.execute(conn, {"rows": json.dumps(rows)})
    return of_newer


_UPSERT_WORKER = sql.prepared("""
INSERT INTO jobs.workers (worker, kinds, seen_at, host, version, concurrency, started_at)
VALUES (:worker, CAST(:kinds AS text[]), now(), :host, :version, :concurrency, :started_at)
ON CONFLICT (worker) DO UPDATE SET kinds = excluded.kinds, seen_at = excluded.seen_at, host = excluded.host,
    version = excluded.version, concurrency = excluded.concurrency, started_at = excluded.started_at
""")
_REGISTERED = (*DEFAULTS, "notifies", "undoes", "retention", "sensitive", "payload_schema")
# In the order of all statements that lock kinds: two workers of a service register the same ones.
_UPSERT_KINDS = sql.prepared(f"""
INSERT INTO jobs.kinds (kind, {", ".join(_REGISTERED)}, declared_at)
SELECT kind, {", ".join(_REGISTERED)}, now() FROM json_populate_recordset(NULL::jobs.kinds, CAST(:rows AS json)) ORDER BY kind
ON CONFLICT (kind) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in (*_REGISTERED, "declared_at"))}
""")
_INSERT = sa.text("INSERT INTO jobs.kinds (kind) SELECT unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING")
_READ = sa.select(
    *(column for column in kinds.c if column.name != "payload_schema"),
    sa.func.coalesce(kinds.c.declared_at > sa.func.now() - worker_versions.ALIVE, sa.false()).label("has_worker"),
).where(kinds.c.kind == sa.any_(sa.bindparam("names", type_=sa.ARRAY(sa.Text))))


def _json(value: Any) -> Any:
    return f"{value.total_seconds():f} seconds" if isinstance(value, timedelta) else value


def _is_schema(text: str) -> bool:
    if len(text.encode()) > MAX_SCHEMA_BYTES or "\x00" in text:
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


async def _read(conn: AsyncConnection, names: list[str]) -> list[Mapping[str, Any]]:
    return [dict(row) for row in (await conn.execute(_READ, {"names": names})).mappings()]


def _kind(row: Mapping[str, Any]) -> Kind:
    defaults = {name: row[name] for name in DEFAULTS if row[name] is not None}
    return Kind(
        defaults={**defaults, "notify_owner": row["notifies"], "has_undo": row["undoes"]},
        is_limited=row["is_limited"],
        is_paused=row["paused_at"] is not None,
        sensitive=frozenset(row["sensitive"]),
        is_registered=row["declared_at"] is not None,
        has_worker=row["has_worker"],
    )
