"""Tokens that nobody uses any more, but that their platform may still honour.

The transaction that ends their connection sets them aside, encrypted as they were. The job `auth.revoke-tokens` revokes
them at the platform and deletes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.connections.domain import Connection
from services.auth.connections.schema import pending_revocations as table
from services.auth.connections.schema import secrets

MIN_PAUSE = timedelta(hours=1)
MAX_PAUSE = timedelta(days=1)
"""Bounds of the pause between two submits of the job that revokes the tokens of a connection."""

_now = sa.func.now()
_key = (table.c.user_id, table.c.platform, table.c.generation)


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


async def take_unsubmitted(conn: AsyncConnection, *, limit: int) -> Sequence[Connection]:
    """Take connections whose tokens are to be submitted again, the longest waiting first, with their generations.

    The pause doubles from `MIN_PAUSE` to `MAX_PAUSE`: tokens that cannot be revoked delay no others.
    """
    pause = sa.func.least(sa.func.greatest(table.c.submitted_at - table.c.set_aside_at, MIN_PAUSE), MAX_PAUSE)
    is_old = (table.c.submitted_at < _now - MIN_PAUSE, table.c.submitted_at < _now - pause)
    chosen = sa.select(*_key).where(*is_old).order_by(table.c.submitted_at).limit(limit)
    taken = sa.update(table).where(sa.tuple_(*_key).in_(chosen.with_for_update(skip_locked=True)))
    rows = await conn.execute(taken.values(submitted_at=_now).returning(*_key))
    return [Connection(**row) for row in rows.mappings()]


async def delete_old(conn: AsyncConnection, *, age: timedelta, limit: int) -> Counter[str]:
    """Delete tokens that were set aside longer than `age` ago; return how many of each platform."""
    old = sa.select(*_key).where(table.c.set_aside_at < _now - age).order_by(table.c.set_aside_at).limit(limit)
    deleted = sa.delete(table).where(sa.tuple_(*_key).in_(old.with_for_update(skip_locked=True)))
    return Counter((await conn.execute(deleted.returning(table.c.platform))).scalars())


async def delete(conn: AsyncConnection, user_id: UUID, platform: str, generation: int) -> None:
    """Delete the tokens that were set aside of one generation."""
    await conn.execute(sa.delete(table).where(*of_generation(user_id, platform, generation)))


def of_generation(user_id: UUID, platform: str, generation: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of one row."""
    return table.c.user_id == user_id, table.c.platform == platform, table.c.generation == generation
