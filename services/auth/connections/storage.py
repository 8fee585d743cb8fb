"""Rows of connections and of their items: one function per query. A state changes by guarded updates only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.prepared import Prepared
from lifecycle.rows import Row, Rows, reader
from services.auth.connections import domain
from services.auth.connections.domain import Account, Action, Connection, Item, JobKind, State
from services.auth.connections.schema import connections, items

_now = sa.func.now()

_NO_JOB = {"job_id": None, "job_kind": None}
_NO_ACCESS = {"connected_at": None, "access_expires_at": None, "refresh_at": None}
_NO_ACCOUNT = {
    "external_id": None,
    "account_name": None,
    "account_url": None,
    "account_picture_url": None,
    "item_count": 0,
    "synced_at": None,
}
_DISCONNECT = {"job_kind": JobKind.DISCONNECT, **_NO_ACCESS}
_CHANGES: Mapping[Action, Mapping[str, Any]] = {
    Action.BEGIN: {**_NO_JOB, **_NO_ACCOUNT},
    Action.RETURN: {"job_kind": JobKind.CONNECT},
    **dict.fromkeys(domain.DISCONNECTS, _DISCONNECT),
    Action.COMPLETE_CONNECT: {"connected_at": _now, "synced_at": _now},
    Action.CANCEL_CONNECT: {**_NO_ACCESS, **_NO_ACCOUNT},
    Action.FAIL_CONNECT: _NO_ACCESS,
    Action.SYNC: {"synced_at": _now},
    Action.FAIL_REFRESH: {**_NO_JOB, **_NO_ACCESS},
    Action.COMPLETE_DISCONNECT: _NO_ACCOUNT,
    Action.FORCE_DISCONNECT: _NO_ACCOUNT,
}


def _account(row: Row) -> Account | None:
    if not row["external_id"]:
        return None
    return Account(
        external_id=row["external_id"],
        name=row["account_name"],
        url=row["account_url"],
        picture_url=row["account_picture_url"],
    )


_connection = reader(
    Connection,
    state=lambda row: State(row["state"]),
    job_kind=lambda row: JobKind(row["job_kind"]) if row["job_kind"] else None,
    account=_account,
)
CONNECTIONS = Rows(
    domain.MACHINE,
    connections,
    read=_connection,
    absent=lambda user_id, platform: Connection(user_id=user_id, platform=platform),
    changes=_CHANGES,
)
_is_pause_over = sa.text(
    "(checked_at IS NULL OR checked_at < now() - least((checked_at - refresh_at) / 4, interval '1 hour'))"
)
_TAKE_TO_REFRESH = Prepared(
    CONNECTIONS.take_statement(
        connections.c.refresh_at <= _now,
        # Without a key or with a wrong secret nothing is renewed, for good: the jobs must become fewer.
        _is_pause_over,
        order=connections.c.refresh_at,
    )
)
_TAKE_TO_SYNC = Prepared(
    CONNECTIONS.take_statement(
        connections.c.state == State.CONNECTED,
        connections.c.synced_at <= _now - domain.SYNC_AFTER,
        order=connections.c.synced_at,
    )
)


async def get(conn: AsyncConnection, user_id: UUID, platform: str, *, lock: bool = False) -> Connection:
    """Read a connection, disconnected if there is no row; with `lock`, no other transaction can change it."""
    return await CONNECTIONS.get(conn, (user_id, platform), lock=lock)


async def list_of_user(conn: AsyncConnection, user_id: UUID) -> dict[str, Connection]:
    """Read the connections that a user has ever begun, by platform."""
    rows = (await conn.execute(sa.select(connections).where(connections.c.user_id == user_id))).mappings()
    return {row["platform"]: _connection(row) for row in rows}


async def begin(conn: AsyncConnection, user_id: UUID, platform: str) -> Connection | None:
    """Begin a generation that connects, and delete the items of the one before; None if the state forbids it."""
    connection = await CONNECTIONS.open(conn, (user_id, platform), Action.BEGIN)
    if connection:
        await delete_items(conn, connection)
    return connection


async def take_to_refresh(conn: AsyncConnection, *, age: timedelta, limit: int) -> list[Connection]:
    """Take connections whose access must be renewed by now, each at most once per `age`, the longest due first.

    One that stays due is taken again after a quarter of the time for which it was due, after an hour at most.
    """
    return await CONNECTIONS.take(conn, _TAKE_TO_REFRESH, age=age, limit=limit)


async def take_to_sync(conn: AsyncConnection, *, age: timedelta, limit: int) -> list[Connection]:
    """Take connections last read `domain.SYNC_AFTER` ago, each at most once per `age`, the oldest first."""
    return await CONNECTIONS.take(conn, _TAKE_TO_SYNC, age=age, limit=limit)


def account_columns(account: Account, published: Sequence[Item]) -> dict[str, Any]:
    """Return the columns that show an account, without its id."""
    return {
        "account_name": account.name,
        "account_url": account.url,
        "account_picture_url": account.picture_url,
        "item_count": len(_by_id(published)),
    }


async def replace_items(conn: AsyncConnection, connection: Connection, published: Sequence[Item]) -> None:
    """Store the items of a connection in place of those before."""
    await delete_items(conn, connection)
    rows = [
        {
            "user_id": connection.user_id,
            "platform": connection.platform,
            "external_id": item.external_id,
            "title": item.title,
            "url": item.url,
            "published_at": item.published_at,
        }
        for item in _by_id(published).values()
    ]
    if rows:
        await conn.execute(sa.insert(items), rows)


async def delete_items(conn: AsyncConnection, connection: Connection) -> None:
    of_connection = (items.c.user_id == connection.user_id, items.c.platform == connection.platform)
    await conn.execute(sa.delete(items).where(*of_connection))


def _by_id(published: Iterable[Item]) -> dict[str, Item]:
    return {item.external_id: item for item in published}
