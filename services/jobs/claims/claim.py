"""Claiming jobs within the limits of their kinds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from services.jobs import storage
from services.jobs.domain import ALL_KINDS, Job
from services.jobs.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The limit on claims of a kind at this moment."""

    kind: str
    max_running: int
    is_paused: bool
    tokens: float | None
    """How many jobs may start now under the rate limit; None without one."""


async def claim(
    tx: Transaction,
    *,
    worker: str,
    kinds: Collection[str],
    limited: bool,
    limit: int,
    lease: timedelta,
    excluded: Collection[UUID] = (),
) -> list[Job]:
    """Claim ready jobs for a worker, each under a new attempt. With `limited`, claims of limited kinds wait for each other.

    Without `limited`, such kinds are left out: a caller with an outdated view gets fewer jobs, never too many.
    """
    quotas = dict.fromkeys(kinds, limit)
    limits: Mapping[str, Limit] = {}
    if limited:
        limits = {row["kind"]: Limit(**row) for row in await storage.lock_limits(tx.conn, kinds)}
    if limits:
        # A statement after the lock: it must see what the previous claim has claimed.
        held = await storage.count_held(tx.conn)
        limit = min(limit, _quota_of(limits.get(ALL_KINDS), sum(held.values()), limit))
        quotas = {kind: min(limit, _quota_of(limits.get(kind), held.get(kind, 0), limit)) for kind in kinds}
    if limit <= 0 or not any(quotas.values()):
        return []
    claimed, tx.next_of_owner = await storage.claim_jobs(
        tx.conn,
        worker=worker,
        quotas=quotas,
        is_locked=limited,
        limit=limit,
        lease=lease,
        event_counts=tx.transitions_by_owner(),
        excluded=excluded,
    )
    tokens = {
        kind_limit.kind: kind_limit.tokens - sum(kind_limit.kind in (ALL_KINDS, job.spec.kind) for job in claimed)
        for kind_limit in limits.values()
        if kind_limit.tokens is not None
    }
    if claimed and tokens:
        await storage.set_tokens(tx.conn, tokens)
    tx.transitions += [(job, "claimed") for job in claimed]
    return claimed


def _quota_of(limit: Limit | None, held: int, requested: int) -> int:
    if limit is None:
        return requested
    if limit.is_paused:
        return 0
    by_concurrency = limit.max_running - held if limit.max_running else requested
    by_rate = math.floor(limit.tokens) if limit.tokens is not None else requested
    return max(0, min(requested, by_concurrency, by_rate))
