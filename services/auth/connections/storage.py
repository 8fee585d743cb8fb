"""Rows of connections and of what begins them: one function a query. A state changes by guarded updates only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.auth.connections import domain, secrets, statements
from services.auth.connections.domain import Account, Action, Connection, Fence, JobKind, State
from services.auth.connections.schema import connections, items

_now = sa.func.now()


async def get(conn: AsyncConnection, user_id: UUID, platform: str, *, lock: bool = False) -> Connection:
    """Read a connection, disconnected if there is no row; with `lock` nobody changes it before the transaction ends."""
    statement = statements.LOCK if lock else statements.GET
    return await _one(conn, statement, _of(user_id, platform)) or Connection(user_id=user_id, platform=platform)


async def list_of_user(conn: AsyncConnection, user_id: UUID) -> dict[str, Connection]:
    """Read what a user has ever connected, by platform."""
    rows = (await conn.execute(sa.select(connections).where(connections.c.user_id == user_id))).mappings()
    return {row["platform"]: _connection(row) for row in rows}


async def begin(conn: AsyncConnection, user_id: UUID, platform: str) -> Connection | None:
    """Begin a generation that connects, without anything of the one before; None if the state forbids it."""
    begun = await _one(conn, statements.BEGIN, _of(user_id, platform))
    if begun:
        await secrets.delete(conn, user_id, platform)
        await _delete_items(conn, begun)
    return begun


async def disconnect(
    conn: AsyncConnection, user_id: UUID, platform: str, job_id: UUID, action: Action = Action.DISCONNECT
) -> Connection | None:
    """Begin a generation that disconnects, by one of `domain.ENDING`; None if the state forbids it."""
    columns = {"new_job_id": job_id}
    statement = statements.move(action, frozenset({"job_id"}), is_guarded=False)
    return await _one(conn, statement, _of(user_id, platform) | columns)


async def move(conn: AsyncConnection, connection: Connection, action: Action, **columns: Any) -> Connection | None:
    """Change the state of the connection's generation by `action`, and columns with it; None if the state forbids it.

    Where the new state keeps no secrets they are gone with this transaction, or set aside to be given back; items go with a
    disconnect.
    """
    statement = statements.move(action, frozenset(columns), is_guarded=True)
    given = {f"new_{name}": value for name, value in columns.items()}
    of = _of(connection.user_id, connection.platform) | {"of_generation": connection.generation}
    if (moved := await _one(conn, statement, of | given)) is None:
        return None
    if moved.state not in domain.KEEPS_SECRETS:
        if domain.leaves_tokens(action, columns.get("error_code")):
            await secrets.set_aside(conn, moved.user_id, moved.platform, generation=moved.generation)
        await secrets.delete(conn, moved.user_id, moved.platform)
    if moved.state is State.DISCONNECTED:
        await _delete_items(conn, moved)
    return moved


async def complete(
    conn: AsyncConnection,
    connection: Connection,
    account: Account,
    found: Sequence[domain.Item],
    *,
    access_expires_at: datetime | None,
    refresh_at: datetime | None,
) -> Connection:
    """Move a connecting connection, which is locked, to connected; `found` are its first items."""
    different = {item.external_id: item for item in found}
    connected = await move(
        conn,
        connection,
        Action.COMPLETE_CONNECT,
        external_id=account.external_id,
        account_name=account.name,
        account_url=account.url,
        account_picture_url=account.picture_url,
        item_count=len(different),
        access_expires_at=access_expires_at,
        refresh_at=refresh_at,
    )
    if connected is None:
        raise errors.Internal("A locked connection changed its state.")
    await _replace_items(conn, connected, different.values())
    return connected


async def sync(
    conn: AsyncConnection, connection: Connection, account: Account, found: Sequence[domain.Item]
) -> Connection | None:
    """Let a connected connection, which is locked, show what the platform says now; None if it has moved on."""
    different = {item.external_id: item for item in found}
    synced = await move(
        conn,
        connection,
        Action.SYNC,
        account_name=account.name,
        account_url=account.url,
        account_picture_url=account.picture_url,
        item_count=len(different),
    )
    if synced:
        await _replace_items(conn, synced, different.values())
    return synced


async def fail(
    conn: AsyncConnection, connection: Connection, action: Action, error: domain.Error, **columns: Any
) -> Connection | None:
    """Change the state by an action that fails; None if the state forbids it."""
    said = {"error_code": error.code.value, "error_message": error.message}
    return await move(conn, connection, action, **said, **columns)


async def begin_attempt(conn: AsyncConnection, fence: Fence) -> None:
    """Close the door behind lower attempts: from now on they can write nothing."""
    await conn.execute(statements.BEGIN_ATTEMPT, _of(fence.user_id, fence.platform) | {"begun": fence.attempt})


async def hold(conn: AsyncConnection, fence: Fence, state: State) -> Connection | None:
    """Lock the row for a write of this attempt; None if the attempt may not write (any more)."""
    given = {"job": fence.job_id, "generation": fence.generation, "attempt": fence.attempt, "state": state}
    return await _one(conn, statements.HOLD, _of(fence.user_id, fence.platform) | given)


async def take_moving(conn: AsyncConnection, *, age: timedelta, limit: int) -> list[Connection]:
    """Give connections whose job has been moving them for longer than `age`, each at most once per `age` over all replicas."""
    stale = (
        sa.select(connections.c.user_id, connections.c.platform)
        .where(
            sa.or_(
                connections.c.state == State.DISCONNECTING,
                sa.and_(connections.c.state == State.CONNECTING, connections.c.job_id.is_not(None)),
            ),
            connections.c.changed_at < _now - age,
            sa.or_(connections.c.checked_at.is_(None), connections.c.checked_at < _now - age),
        )
        .order_by(connections.c.checked_at.nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await _check(conn, stale)


async def list_abandoned(conn: AsyncConnection, *, limit: int) -> list[Connection]:
    """Give connections whose users have been away for too long, the longest first."""
    statement = (
        sa.select(connections)
        .where(
            connections.c.state == State.CONNECTING,
            connections.c.job_id.is_(None),
            connections.c.changed_at <= _now - domain.AUTHORIZATION_LIFETIME,
        )
        .order_by(connections.c.changed_at)
        .limit(limit)
    )
    return [_connection(row) for row in (await conn.execute(statement)).mappings()]


async def now(conn: AsyncConnection) -> datetime:
    """Give the time as the database has it, which judges all ends."""
    found: datetime = (await conn.execute(sa.select(_now))).scalar_one()
    return found


async def take_to_refresh(conn: AsyncConnection, *, age: timedelta, limit: int) -> list[Connection]:
    """Give connections whose access must be renewed by now, each at most once per `age`, the longest due first."""
    return await _check(conn, _due(connections.c.refresh_at, connections.c.refresh_at <= _now, age, limit))


async def take_to_sync(conn: AsyncConnection, *, age: timedelta, limit: int) -> list[Connection]:
    """Give connections that were last read `domain.SYNC_AFTER` ago, each at most once per `age`, the longest ago first."""
    is_old = sa.and_(connections.c.state == State.CONNECTED, connections.c.synced_at <= _now - domain.SYNC_AFTER)
    return await _check(conn, _due(connections.c.synced_at, is_old, age, limit))


def _due(by: sa.Column[Any], is_due: sa.ColumnElement[bool], age: timedelta, limit: int) -> sa.Select[Any]:
    return (
        sa.select(connections.c.user_id, connections.c.platform)
        .where(is_due, sa.or_(connections.c.checked_at.is_(None), connections.c.checked_at < _now - age))
        .order_by(by)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


async def _replace_items(conn: AsyncConnection, connection: Connection, found: Iterable[domain.Item]) -> None:
    await _delete_items(conn, connection)
    rows = [
        {
            "user_id": connection.user_id,
            "platform": connection.platform,
            "external_id": item.external_id,
            "title": item.title,
            "url": item.url,
            "published_at": item.published_at,
        }
        for item in found
    ]
    if rows:
        await conn.execute(sa.insert(items), rows)


async def _check(conn: AsyncConnection, chosen: sa.Select[Any]) -> list[Connection]:
    statement = (
        sa.update(connections)
        .where(sa.tuple_(connections.c.user_id, connections.c.platform).in_(chosen))
        .values(checked_at=_now)
        .returning(connections)
    )
    return [_connection(row) for row in (await conn.execute(statement)).mappings()]


async def _delete_items(conn: AsyncConnection, connection: Connection) -> None:
    mine = (items.c.user_id == connection.user_id, items.c.platform == connection.platform)
    await conn.execute(sa.delete(items).where(*mine))


def _of(user_id: UUID, platform: str) -> dict[str, Any]:
    return {"of_user": user_id, "of_platform": platform}


async def _one(conn: AsyncConnection, statement: sa.Executable, given: Mapping[str, Any]) -> Connection | None:
    row = (await conn.execute(statement, given)).mappings().first()
    return _connection(row) if row else None


def _connection(row: Mapping[Any, Any]) -> Connection:
    return Connection(
        user_id=row["user_id"],
        platform=row["platform"],
        state=State(row["state"]),
        generation=row["generation"],
        version=row["version"],
        attempt=row["attempt"],
        job_id=row["job_id"],
        job_kind=JobKind(row["job_kind"]) if row["job_kind"] else None,
        job_version=row["job_version"],
        account=_account(row) if row["external_id"] else None,
        error=_error(row) if row["error_code"] else None,
        item_count=row["item_count"],
        connected_at=row["connected_at"],
        synced_at=row["synced_at"],
        access_expires_at=row["access_expires_at"],
        refresh_at=row["refresh_at"],
        changed_at=row["changed_at"],
    )


def _account(row: Mapping[Any, Any]) -> Account:
    return Account(
        external_id=row["external_id"],
        name=row["account_name"],
        url=row["account_url"],
        picture_url=row["account_picture_url"],
    )


def _error(row: Mapping[Any, Any]) -> domain.Error:
    return domain.Error(code=domain.ErrorCode(row["error_code"]), message=row["error_message"])
