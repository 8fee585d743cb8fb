"""Tokens that nobody uses any more, but that their platform may still honour.

The transaction that ends their connection sets them aside, encrypted as they were. The job `auth.revoke-tokens` revokes
them at the platform and deletes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.connections.domain import Connection
from services.auth.connections.schema import pending_revocations as table
from services.auth.connections.schema import secrets


async def set_aside(conn: AsyncConnection, connection: Connection) -> bool:
    """Copy the stored tokens of a connection that ends now; return whether there were any."""
    columns = ("user_id", "platform", "sealed_access_token", "sealed_refresh_token", "subject")
    stored = sa.select(*(secrets.c[name] for name in columns), sa.literal(connection.generation)).where(
        secrets.c.user_id == connection.user_id,
        secrets.c.platform == connection.platform,
        secrets.c.sealed_access_token.is_not(None),
    )
    insert = sa.insert(table).from_select([*columns, "generation"], stored, include_defaults=False)
    # Not by rowcount: SQLAlchemy does not keep it for an INSERT.
    return (await conn.execute(insert.returning(table.c.generation))).first() is not None


async def list_old(conn: AsyncConnection, *, age: timedelta, limit: int) -> Sequence[Connection]:
    """List connections whose tokens were set aside longer than `age` ago, the newest first, with their generations."""
    statement = (
        sa.select(table.c.user_id, table.c.platform, table.c.generation)
        .where(table.c.set_aside_at < sa.func.now() - age)
        .order_by(table.c.set_aside_at.desc())
        .limit(limit)
    )
    return [Connection(**row) for row in (await conn.execute(statement)).mappings()]


async def delete_old(conn: AsyncConnection, *, age: timedelta) -> int:
    """Delete tokens that were set aside longer than `age` ago; return how many."""
    return (await conn.execute(sa.delete(table).where(table.c.set_aside_at < sa.func.now() - age))).rowcount


async def delete(conn: AsyncConnection, user_id: UUID, platform: str, generation: int) -> None:
    """Delete the tokens that were set aside of one generation."""
    await conn.execute(sa.delete(table).where(*of_generation(user_id, platform, generation)))


def of_generation(user_id: UUID, platform: str, generation: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of one row."""
    return table.c.user_id == user_id, table.c.platform == platform, table.c.generation == generation
