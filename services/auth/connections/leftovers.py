"""Tokens that nobody uses any more and the platform may still honour.

They are set aside, sealed as they were, by the transaction that ends what they were got for; the job `auth.revoke-tokens` takes
them to the platform, and deletes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

import worker
from services.auth.connections import convert, domain, secrets, storage
from services.auth.connections.domain import Connection, State, Tokens
from services.auth.connections.providers.outbound import Failed, Unavailable
from services.auth.connections.schema import leftovers as table
from services.auth.connections.tasks import Dependencies, later, logger

WAIT = timedelta(minutes=1)
"""How long a user who is connecting anew is waited for: whether that ends the old access too is not known before."""


async def give_back(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Revoke what was set aside at the platform, and delete it; the result says whether the platform has confirmed."""
    platform, generation = convert.of_payload(context.payload)
    user_id = UUID(str(context.payload["user_id"]))
    async with dependencies.engine.begin() as conn:
        present = await storage.get(conn, user_id, platform)
        tokens = await dependencies.vault.get_leftover(conn, user_id, platform, generation)
    if tokens is None:
        return {"revoked": False}
    if domain.shares_grant(present, generation):
        if present.state is State.CONNECTING:
            raise worker.Snooze(WAIT)
        # Revoking would end the access that the user has now.
        is_revoked = False
    else:
        is_revoked = await _revoke(dependencies, platform, tokens)
    async with dependencies.engine.begin() as conn:
        await delete(conn, user_id, platform, generation)
    return {"revoked": is_revoked}


async def _revoke(dependencies: Dependencies, platform: str, tokens: Tokens) -> bool:
    if (provider := dependencies.providers.get(platform)) is None:
        logger.warning("tokens are forgotten: their platform is not configured", extra={"platform": platform})
        return False
    try:
        return await provider.revoke(tokens)
    except Unavailable as error:
        raise later(error, platform) from None
    except Failed as error:
        logger.warning("tokens could not be given back", extra={"platform": platform, "cause": str(error)})
        return False


async def list_old(conn: AsyncConnection, *, age: timedelta, limit: int) -> Sequence[Connection]:
    """Give of what was set aside longer than `age` ago whose it was, the newest first; their `generation` says of which."""
    statement = (
        sa.select(table.c.user_id, table.c.platform, table.c.generation)
        .where(table.c.set_aside_at < sa.func.now() - age)
        .order_by(table.c.set_aside_at.desc())
        .limit(limit)
    )
    return [Connection(**row) for row in (await conn.execute(statement)).mappings()]


async def forget_old(conn: AsyncConnection, *, age: timedelta) -> int:
    """Delete what was set aside longer than `age` ago; gives how many."""
    return (await conn.execute(sa.delete(table).where(table.c.set_aside_at < sa.func.now() - age))).rowcount


async def delete(conn: AsyncConnection, user_id: UUID, platform: str, generation: int) -> None:
    """Delete what was set aside of one generation."""
    await conn.execute(sa.delete(table).where(*secrets.leftover_of(user_id, platform, generation)))
