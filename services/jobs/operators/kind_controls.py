"""Limits and pauses of kinds, set by admins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from chassis import errors
from services.jobs import domain, operations, sql, storage
from services.jobs.claims import waiters
from services.jobs.operators import change_log
from services.jobs.transaction import Transaction

MAX_LIMIT = 1_000_000
MAX_PERIOD = timedelta(hours=24)
MAX_DETAILS = 200
"""Characters of the limits that are recorded with a change."""
ADMIT_BATCH = 1_000
"""Concurrency keys that admit jobs together with a new limit; the reconciler admits jobs for the rest."""

_SET = sa.text(f"""
INSERT INTO jobs.kinds AS k (kind, max_running, max_running_per_key, rate_count, rate_period, tokens)
VALUES (:kind, :max_running, :max_running_per_key, :rate_count, :rate_period, :rate_count)
ON CONFLICT (kind) DO UPDATE SET max_running = excluded.max_running, max_running_per_key = excluded.max_running_per_key,
    rate_count = excluded.rate_count, rate_period = excluded.rate_period, tokens_at = now(),
    -- A new rate starts with a full burst; changing a rate grants none.
    tokens = CASE WHEN k.rate_count = 0 THEN excluded.rate_count ELSE least(excluded.rate_count, greatest(0, {sql.TOKENS})) END
""")  # noqa: S608 - our own text
_PAUSE = sa.text("""
INSERT INTO jobs.kinds AS k (kind, paused_at) VALUES (:kind, now())
ON CONFLICT (kind) DO UPDATE SET paused_at = now() WHERE k.paused_at IS NULL
""")
_RESUME = sa.text("UPDATE jobs.kinds SET paused_at = NULL WHERE kind = :kind AND paused_at IS NOT NULL")
_KEEP = sa.text("INSERT INTO jobs.kinds (kind) VALUES (:kind) ON CONFLICT DO NOTHING")
_READY_KINDS = sa.text("""
SELECT k.kind FROM jobs.kinds k
WHERE (:kind = '*' OR k.kind = :kind) AND EXISTS (SELECT FROM jobs.jobs j WHERE j.kind = k.kind AND j.ready)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a kind; see KindLimits in the protos."""

    kind: str
    max_running: int = 0
    max_running_per_key: int = 0
    rate_count: int = 0
    rate_period: timedelta | None = None

    def __post_init__(self) -> None:
        """Validate the bounds. Raises `InvalidArgument`."""
        require_kind(self.kind)
        for name in ("max_running", "max_running_per_key", "rate_count"):
            _require(0 <= getattr(self, name) <= MAX_LIMIT, name, f"between 0 and {MAX_LIMIT:,}")
        is_all_kinds = self.kind == domain.ALL_KINDS
        _require(not (is_all_kinds and self.max_running_per_key), "max_running_per_key", "left out for all kinds")
        _require(
            self.rate_period is None or timedelta() < self.rate_period <= MAX_PERIOD,
            "rate_period",
            "above 0 and at most 24 hours",
        )
        _require((self.rate_count > 0) == (self.rate_period is not None), "rate_period", "given with rate_count")

    def __str__(self) -> str:
        rate = f"{self.rate_count:,} per {self.rate_period.total_seconds():g} s" if self.rate_period else ""
        parts = (
            f"{self.max_running:,} at once" if self.max_running else "",
            f"{self.max_running_per_key:,} per key" if self.max_running_per_key > 1 else "",
            rate,
        )
        return ", ".join(filter(None, parts)) or "no limits"


def require_kind(kind: str) -> None:
    """Validate the name of a kind, or `*`."""
    if kind != domain.ALL_KINDS:
        domain.require_kind(kind, "kind")


class KindControls:
    """Changes the limits and pauses of kinds, and records who did; `actor_id` is None for the command line."""

    def __init__(self, jobs: operations.Operations) -> None:
        self._jobs = jobs

    async def set_limits(self, limits: Limits, *, actor_id: UUID | None = None) -> None:
        """Replace the limits of a kind, and wake claims for jobs that they newly allow."""
        parameters = {
            "kind": limits.kind,
            "max_running": limits.max_running,
            "max_running_per_key": limits.max_running_per_key or 1,
            "rate_count": limits.rate_count,
            "rate_period": limits.rate_period,
        }
        async with self._jobs.transaction() as tx:
            await tx.conn.execute(_SET, parameters)
            await change_log.KINDS.record(
                tx.conn, limits.kind, "limited", actor_id=actor_id, details=str(limits)[:MAX_DETAILS]
            )
            keys = {
                key for key in await storage.keys_with_free_slots(tx.conn, limit=ADMIT_BATCH) if key[0] == limits.kind
            }
            if keys:
                await storage.admit_waiting(tx.conn, keys)
            await _wake(tx, limits.kind)
        self._jobs.kinds.forget()

    async def pause(self, kind: str, *, actor_id: UUID | None = None) -> None:
        """Pause a kind: none of its jobs is claimed."""
        require_kind(kind)
        async with self._jobs.transaction() as tx:
            if (await tx.conn.execute(_PAUSE, {"kind": kind})).rowcount:
                await change_log.KINDS.record(tx.conn, kind, "paused", actor_id=actor_id, details="")
        self._jobs.kinds.forget()

    async def resume(self, kind: str, *, actor_id: UUID | None = None) -> None:
        """End the pause of a kind."""
        require_kind(kind)
        async with self._jobs.transaction() as tx:
            if (await tx.conn.execute(_RESUME, {"kind": kind})).rowcount:
                await change_log.KINDS.record(tx.conn, kind, "resumed", actor_id=actor_id, details="")
            else:
                await tx.conn.execute(_KEEP, {"kind": kind})
            await _wake(tx, kind)
        self._jobs.kinds.forget()


async def _wake(tx: Transaction, kind: str) -> None:
    ready = (await tx.conn.execute(_READY_KINDS, {"kind": kind})).scalars()
    tx.wakeups.update(dict.fromkeys(ready, waiters.ANY))


def _require(holds: bool, name: str, bound: str) -> None:
    if not holds:
        raise errors.InvalidArgument(f"{name} must be {bound}.", field=name)
