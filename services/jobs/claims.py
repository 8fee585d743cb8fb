"""Claiming jobs within the limits of their kinds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.jobs import storage
from services.jobs.domain import ALL_KINDS, Job
from services.jobs.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What bounds the claims of a kind at this moment."""

    kind: str
    max_running: int
    is_paused: bool
    tokens: float | None
    """How many may begin now, under a rate limit."""


async def claim(
    tx: Transaction, *, worker: str, kinds: Collection[str], limited: bool, limit: int, lease: timedelta
) -> list[Job]:
    """Give a worker ready jobs, each under a new attempt. With `limited` claims of kinds that have limits wait for each other.

    Without it such kinds are left out: who is not up to date gets less, never too much.
    """
    quotas = dict.fromkeys(kinds, limit)
    limits: Mapping[str, Limit] = {}
    if limited:
        limits = {row["kind"]: Limit(**row) for row in await storage.lock_limits(tx.conn, kinds)}
    if limits:
        # By a statement after the lock: it must see what the claim before this one has claimed.
        held = await storage.count_held(tx.conn)
        everything = _allowed(limits.get(ALL_KINDS), sum(held.values()), limit)
        limit = min(limit, everything)
        quotas = {kind: min(limit, _allowed(limits.get(kind), held.get(kind, 0), limit)) for kind in kinds}
    if limit <= 0 or not any(quotas.values()):
        return []
    claimed, tx.sequences = await storage.claim_jobs(
        tx.conn,
        worker=worker,
        quotas=quotas,
        is_locked=limited,
        limit=limit,
        lease=lease,
        told=tx.moved_by_owner(),
    )
    tokens = {
        one.kind: one.tokens - sum(one.kind in (ALL_KINDS, job.spec.kind) for job in claimed)
        for one in limits.values()
        if one.tokens is not None
    }
    if claimed and tokens:
        await storage.set_tokens(tx.conn, tokens)
    tx.moved += [(job, "claimed") for job in claimed]
    return claimed


def _allowed(limit: Limit | None, held: int, wanted: int) -> int:
    if limit is None:
        return wanted
    if limit.is_paused:
        return 0
    running = limit.max_running - held if limit.max_running else wanted
    beginning = math.floor(limit.tokens) if limit.tokens is not None else wanted
    return max(0, min(wanted, running, beginning))
