"""The handler of the hourly job `auth.connections-maintenance`: ends access of disabled accounts and withdrawn platforms."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

import worker
from chassis import errors, ids, outbox
from services.auth import domain as accounts
from services.auth.connections import domain, jobs, pending_revocations, storage
from services.auth.connections.domain import Action
from services.auth.connections.effects import Effects
from services.auth.connections.handlers.dependencies import Dependencies
from services.auth.connections.schema import connections, platforms
from services.auth.schema import users

logger = logging.getLogger(__name__)

BATCH = 200
ROUNDS = 50
WITHDRAWN_AFTER = timedelta(days=1)
"""How long a platform may be missing in PLATFORMS before its connections end. A mistake is corrected sooner."""
REVOCATION_LIFETIME = timedelta(days=7)

Submit = Callable[[Iterable[worker.NewJob]], Awaitable[list[worker.SubmittedJob | errors.Error]]]

_now = sa.func.now()
_HAS_ACCESS = connections.c.state.in_(sorted(domain.TRANSITIONS[Action.CLOSE][0]))


async def maintain(dependencies: Dependencies, submit: Submit, context: worker.Context) -> dict[str, int]:
    """End access of disabled accounts and withdrawn platforms, revoke tokens that were set aside; return how many of each."""
    async with dependencies.engine.begin() as conn:
        await record_offered(conn, dependencies.offered)
    deleted = await _delete_unrevoked(dependencies, context)
    done = {"unrevoked": await _submit_unrevoked(dependencies, submit, context), "deleted": deleted}
    for action, condition in ((Action.CLOSE, _is_of_disabled_user()), (Action.WITHDRAW, _is_of_withdrawn_platform())):
        done[action.value] = await _end_all(dependencies, action, condition, context)
    return done


async def _delete_unrevoked(dependencies: Dependencies, context: worker.Context) -> int:
    """Delete tokens that could not be revoked in a week; return how many."""
    deleted: Counter[str] = Counter()
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        async with dependencies.engine.begin() as conn:
            batch = await pending_revocations.delete_old(conn, age=REVOCATION_LIFETIME, limit=BATCH)
        deleted += batch
        if batch.total() < BATCH:
            break
    for platform, count in deleted.items():
        # Their owners can end the access in their settings at the platform.
        extra = {"platform": platform, "count": count}
        logger.error("tokens were deleted that their platform has not revoked", extra=extra)
    return deleted.total()


async def _submit_unrevoked(dependencies: Dependencies, submit: Submit, context: worker.Context) -> int:
    """Submit again the jobs that revoke tokens, all whose time has come; return how many."""
    unrevoked = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        async with dependencies.engine.begin() as conn:
            batch = await pending_revocations.take_unsubmitted(conn, limit=BATCH)
        for answer in await submit(map(jobs.revoke_tokens, batch)) if batch else []:
            # A job that has not ended has the unique key.
            if isinstance(answer, errors.Error) and not isinstance(answer, errors.AlreadyExists):
                logger.warning("the revocation of tokens was not submitted", extra={"cause": answer.code})
        unrevoked += len(batch)
        if len(batch) < BATCH:
            break
    return unrevoked


async def end_of_user(
    tx: outbox.Transaction, effects: Effects, user_id: UUID, admin: accounts.Actor | None = None
) -> None:
    """Begin to revoke all access to the accounts of a user whom `admin` disables, or whose account is erased."""
    await _end(tx, effects, Action.CLOSE, connections.c.user_id == user_id, admin)


async def record_offered(conn: AsyncConnection, offered: Iterable[str]) -> None:
    """Record which platforms are offered now; one that is unknown counts as offered until now."""
    if rows := [{"platform": name} for name in sorted(offered)]:
        insert = postgresql.insert(platforms).values(rows)
        await conn.execute(insert.on_conflict_do_update(index_elements=["platform"], set_={"offered_at": _now}))
    connected = sa.select(connections.c.platform).where(_HAS_ACCESS).distinct()
    insert = postgresql.insert(platforms).from_select(["platform"], connected)
    await conn.execute(insert.on_conflict_do_nothing())


async def _end_all(
    dependencies: Dependencies, action: Action, condition: sa.ColumnElement[bool], context: worker.Context
) -> int:
    ended = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        async with dependencies.transaction() as tx:
            batch = await _end(tx, dependencies.effects, action, condition)
        ended += batch
        if batch < BATCH:
            break
    if ended:
        logger.warning("connections were ended", extra={"reason": action.value, "count": ended})
    return ended


async def _end(
    tx: outbox.Transaction,
    effects: Effects,
    action: Action,
    condition: sa.ColumnElement[bool],
    admin: accounts.Actor | None = None,
) -> int:
    chosen = sa.select(connections.c.user_id, connections.c.platform).where(condition, _HAS_ACCESS).limit(BATCH)
    ended = 0
    for row in (await tx.conn.execute(chosen)).all():
        key, columns = (row.user_id, row.platform), {"job_id": ids.uuid7()}
        if connection := await storage.CONNECTIONS.move(tx.conn, key, action, columns=columns):
            await effects.apply(tx, connection, action, admin=admin)
            ended += 1
    return ended


def _is_of_disabled_user() -> sa.ColumnElement[bool]:
    return connections.c.user_id.in_(sa.select(users.c.user_id).where(users.c.disabled_at.is_not(None)))


def _is_of_withdrawn_platform() -> sa.ColumnElement[bool]:
    long_ago = platforms.c.offered_at < _now - WITHDRAWN_AFTER
    return connections.c.platform.in_(sa.select(platforms.c.platform).where(long_ago))
