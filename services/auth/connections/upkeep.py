"""What becomes of access that nobody may have any more: an hourly job ends it, whoever has forgotten to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

import worker
from chassis import errors, ids, outbox
from services.auth import domain as accounts
from services.auth.connections import announcements, convert, domain, leftovers, storage
from services.auth.connections.domain import Action
from services.auth.connections.schema import connections, platforms
from services.auth.connections.tasks import Dependencies
from services.auth.schema import users

logger = logging.getLogger(__name__)

BATCH = 200
ROUNDS = 50
WITHDRAWN_AFTER = timedelta(days=1)
"""How long a platform may be missing in PLATFORMS before its connections end: by mistake it is missing for less."""
LEFTOVER_AGE = timedelta(hours=1)
"""How long the job that gives tokens back is left alone with them; then it is submitted again."""
LEFTOVER_KEPT_FOR = timedelta(days=7)

Submit = Callable[[Iterable[worker.NewJob]], Awaitable[list[worker.SubmittedJob | errors.Error]]]

_now = sa.func.now()
_HAS_ACCESS = connections.c.state.in_(sorted(domain.TRANSITIONS[Action.CLOSE][0]))


async def upkeep(dependencies: Dependencies, submit: Submit, context: worker.Context) -> dict[str, int]:
    """End what disabled accounts and withdrawn platforms have left, give back what was left over; gives how many of each."""
    async with dependencies.engine.begin() as conn:
        await note_offered(conn, dependencies.offered)
        forgotten = await leftovers.forget_old(conn, age=LEFTOVER_KEPT_FOR)
        left = await leftovers.list_old(conn, age=LEFTOVER_AGE, limit=BATCH)
    if forgotten:
        logger.error("tokens are forgotten that no platform has taken back", extra={"count": forgotten})
    if left:
        await submit(convert.give_back_to_proto(one) for one in left)
    done = {"left_over": len(left), "forgotten": forgotten}
    for action, which in ((Action.CLOSE, _of_disabled()), (Action.WITHDRAW, _of_withdrawn())):
        done[action.value] = await _end_all(dependencies, action, which, context)
    return done


async def end_of_user(
    conn: AsyncConnection, announced: announcements.Announcements, user_id: UUID, admin: accounts.Actor
) -> list[outbox.Message]:
    """Begin to take back all access to the accounts of a user whom `admin` disables; gives what to send after the commit."""
    return await _end(conn, announced, Action.CLOSE, connections.c.user_id == user_id, admin)


async def note_offered(conn: AsyncConnection, offered: Iterable[str]) -> None:
    """Note which platforms are offered now; one that is met for the first time counts as offered until now."""
    if rows := [{"platform": name} for name in sorted(offered)]:
        insert = postgresql.insert(platforms).values(rows)
        await conn.execute(insert.on_conflict_do_update(index_elements=["platform"], set_={"offered_at": _now}))
    met = sa.select(connections.c.platform).where(_HAS_ACCESS).distinct()
    insert = postgresql.insert(platforms).from_select(["platform"], met)
    await conn.execute(insert.on_conflict_do_nothing())


async def _end_all(
    dependencies: Dependencies, action: Action, which: sa.ColumnElement[bool], context: worker.Context
) -> int:
    ended = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        async with dependencies.engine.begin() as conn:
            messages = await _end(conn, dependencies.announced, action, which)
        dependencies.relay.send(messages)
        found = sum(message.subject.startswith("auth.events.") for message in messages)
        ended += found
        if found < BATCH:
            break
    if ended:
        logger.warning("connections are ended", extra={"reason": action.value, "count": ended})
    return ended


async def _end(
    conn: AsyncConnection,
    announced: announcements.Announcements,
    action: Action,
    which: sa.ColumnElement[bool],
    admin: accounts.Actor | None = None,
) -> list[outbox.Message]:
    chosen = sa.select(connections.c.user_id, connections.c.platform).where(which, _HAS_ACCESS).limit(BATCH)
    messages: list[outbox.Message] = []
    for row in (await conn.execute(chosen)).all():
        if ended := await storage.disconnect(conn, row.user_id, row.platform, ids.uuid7(), action):
            messages += await announced.announce(conn, ended, action, admin=admin)
    return messages


def _of_disabled() -> sa.ColumnElement[bool]:
    return connections.c.user_id.in_(sa.select(users.c.user_id).where(users.c.disabled_at.is_not(None)))


def _of_withdrawn() -> sa.ColumnElement[bool]:
    long_ago = platforms.c.offered_at < _now - WITHDRAWN_AFTER
    return connections.c.platform.in_(sa.select(platforms.c.platform).where(long_ago))
