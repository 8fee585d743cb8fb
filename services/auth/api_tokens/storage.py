"""Queries on API tokens. Each runs in the caller's transaction; all times are the database's."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from services.auth import domain
from services.auth import storage as account_storage
from services.auth.api_tokens.domain import PER_USER, USE_NOTED_AFTER, ApiToken, Scope
from services.auth.schema import api_tokens, users
from services.auth.storage import NOW, not_before

IS_ACTIVE = sa.and_(api_tokens.c.revoked_at.is_(None), api_tokens.c.expires_at > NOW)
_IS_DUE = sa.or_(api_tokens.c.last_used_at.is_(None), api_tokens.c.last_used_at <= NOW - USE_NOTED_AFTER)
_TOKEN = (
    api_tokens.c.token_id,
    api_tokens.c.user_id,
    api_tokens.c.name,
    api_tokens.c.scopes,
    api_tokens.c.created_at,
    api_tokens.c.expires_at,
    api_tokens.c.last_used_at,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveToken:
    user: domain.User
    api_token: ApiToken
    remaining: timedelta
    """Time until the token expires."""
    is_due: bool
    """Whether its use is worth a write."""


async def insert_token(
    conn: AsyncConnection,
    user_id: uuid.UUID,
    *,
    token_hash: bytes,
    name: str,
    scopes: Sequence[Scope],
    lifetime: timedelta,
) -> ApiToken:
    values = sa.insert(api_tokens).values(
        token_id=ids.uuid7(),
        user_id=user_id,
        token_hash=token_hash,
        name=name,
        scopes=[scope.value for scope in scopes],
        expires_at=NOW + lifetime,
    )
    return _to_api_token((await conn.execute(values.returning(*_TOKEN))).one())


async def count_active(conn: AsyncConnection, user_id: uuid.UUID) -> int:
    statement = sa.select(sa.func.count()).where(api_tokens.c.user_id == user_id, IS_ACTIVE)
    return int((await conn.execute(statement)).scalar_one())


async def delete_surplus(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Delete the oldest ended tokens of a user beyond `PER_USER`."""
    order = (api_tokens.c.created_at.desc(), api_tokens.c.token_id.desc())
    ended_tokens = sa.select(api_tokens.c.token_id).where(api_tokens.c.user_id == user_id, ~IS_ACTIVE).order_by(*order)
    await conn.execute(sa.delete(api_tokens).where(api_tokens.c.token_id.in_(ended_tokens.offset(PER_USER))))


async def list_tokens(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[ApiToken]:
    """List the active and expired tokens of a user, newest first."""
    statement = sa.select(*_TOKEN).where(api_tokens.c.user_id == user_id, api_tokens.c.revoked_at.is_(None))
    order = (api_tokens.c.created_at.desc(), api_tokens.c.token_id.desc())
    return [_to_api_token(row) for row in await conn.execute(statement.order_by(*order).limit(2 * PER_USER))]


async def find_token(conn: AsyncConnection, user_id: uuid.UUID, token_id: uuid.UUID) -> ApiToken | None:
    """Find a token of a user, ended or not."""
    statement = sa.select(*_TOKEN).where(api_tokens.c.token_id == token_id, api_tokens.c.user_id == user_id)
    row = (await conn.execute(statement)).one_or_none()
    return _to_api_token(row) if row else None


async def find_active(conn: AsyncConnection, token_hashes: Collection[bytes]) -> dict[bytes, ActiveToken]:
    """Find the active tokens with these hashes and their users; ended or unknown ones are left out."""
    statement = (
        sa.select(
            *(column.label(f"token_{column.name}") for column in _TOKEN),
            *(column.label(f"user_{column.name}") for column in account_storage.USER),
            (api_tokens.c.expires_at - NOW).label("remaining"),
            _IS_DUE.label("is_due"),
            api_tokens.c.token_hash,
        )
        .join_from(api_tokens, users, api_tokens.c.user_id == users.c.user_id)
        .where(api_tokens.c.token_hash.in_(token_hashes), IS_ACTIVE, users.c.disabled_at.is_(None))
    )
    return {
        row.token_hash: ActiveToken(
            user=account_storage.user(row, "user_"),
            api_token=_to_api_token(row, "token_"),
            remaining=row.remaining,
            is_due=row.is_due,
        )
        for row in await conn.execute(statement)
    }


async def find_by_hash(conn: AsyncConnection, token_hash: bytes) -> ApiToken | None:
    """Find a token by its hash, ended or not."""
    row = (await conn.execute(sa.select(*_TOKEN).where(api_tokens.c.token_hash == token_hash))).one_or_none()
    return _to_api_token(row) if row else None


async def note_use(conn: AsyncConnection, token_id: uuid.UUID) -> None:
    """Note that a token was used now, unless a recent use is noted."""
    is_due = sa.and_(api_tokens.c.token_id == token_id, _IS_DUE)
    await conn.execute(sa.update(api_tokens).where(is_due).values(last_used_at=not_before(api_tokens.c.created_at)))


async def revoke_token(conn: AsyncConnection, user_id: uuid.UUID, token_id: uuid.UUID) -> domain.Revocation | None:
    """End a token of a user; None if it has ended already or belongs to another user."""
    condition = sa.and_(api_tokens.c.user_id == user_id, api_tokens.c.token_id == token_id)
    return next(iter(await _revoke(conn, condition, domain.RevokeReason.REVOKED)), None)


async def revoke_tokens(
    conn: AsyncConnection, user_id: uuid.UUID, reason: domain.RevokeReason
) -> domain.Revocation | None:
    """End all active tokens of a user; None if there was none."""
    return next(iter(await _revoke(conn, api_tokens.c.user_id == user_id, reason)), None)


async def revoke_batch_of_all_users(
    conn: AsyncConnection, *, created_before: datetime, limit: int
) -> Sequence[domain.Revocation]:
    """End at most `limit` active tokens of any users; skip those that other transactions have locked."""
    batch = sa.select(api_tokens.c.token_id).where(IS_ACTIVE, api_tokens.c.created_at <= created_before)
    condition = api_tokens.c.token_id.in_(batch.limit(limit).with_for_update(skip_locked=True))
    return await _revoke(conn, condition, domain.RevokeReason.REVOKED_BY_ADMIN)


async def has_others(conn: AsyncConnection, *, created_before: datetime) -> bool:
    """Return whether an active token that was created before then is left."""
    exists = sa.exists().where(IS_ACTIVE, api_tokens.c.created_at <= created_before)
    return bool(await conn.scalar(sa.select(exists)))


async def _revoke(
    conn: AsyncConnection, condition: sa.ColumnElement[bool], reason: domain.RevokeReason
) -> list[domain.Revocation]:
    revoked_at = not_before(api_tokens.c.created_at)
    statement = sa.update(api_tokens).where(condition, IS_ACTIVE).values(revoked_at=revoked_at)
    returned = statement.returning(api_tokens.c.user_id, api_tokens.c.token_id, api_tokens.c.revoked_at)
    by_user: dict[uuid.UUID, list[Any]] = {}
    for row in await conn.execute(returned):
        by_user.setdefault(row.user_id, []).append(row)
    return [
        domain.Revocation(
            user_id=user_id,
            session_ids=tuple(row.token_id for row in rows),
            reason=reason.value,
            revoked_at=max(row.revoked_at for row in rows),
        )
        for user_id, rows in by_user.items()
    ]


def _to_api_token(row: Any, prefix: str = "") -> ApiToken:
    values = {column.name: getattr(row, f"{prefix}{column.name}") for column in _TOKEN}
    values["scopes"] = tuple(map(Scope, values["scopes"]))
    return ApiToken(**values)
