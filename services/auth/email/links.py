"""One-time links of emails in schema `auth`: each account has at most one valid link per purpose."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain, tokens
from services.auth.context import lock_account
from services.auth.email import jobs as email_jobs
from services.auth.schema import mail_tokens
from services.auth.storage import NOW


async def replace_link(
    conn: AsyncConnection, user_id: uuid.UUID, purpose: email_jobs.Purpose, *, token_hash: bytes
) -> None:
    """Store a link, replacing the previous one. The caller has locked the account."""
    await void_link(conn, user_id, purpose)
    lifetime = email_jobs.LINK_LIFETIMES[purpose]
    values = {"user_id": user_id, "purpose": purpose.value, "token_hash": token_hash, "expires_at": NOW + lifetime}
    await conn.execute(sa.insert(mail_tokens).values(values))


async def void_link(conn: AsyncConnection, user_id: uuid.UUID, purpose: email_jobs.Purpose) -> None:
    """Void the unused links of a purpose."""
    is_unused = sa.and_(
        mail_tokens.c.user_id == user_id, mail_tokens.c.purpose == purpose.value, mail_tokens.c.used_at.is_(None)
    )
    await conn.execute(sa.delete(mail_tokens).where(is_unused))


def link_hash(token: str) -> bytes:
    """Return the stored hash of the secret of a link. Raises `LinkInvalid` for another form."""
    if (token_hash := tokens.link_hash(token)) is None:
        raise domain.LinkInvalid()
    return token_hash


async def find_linked_user(conn: AsyncConnection, purpose: email_jobs.Purpose, token_hash: bytes) -> uuid.UUID:
    """Return the user of a link. Raises `LinkInvalid`."""
    rows = await conn.execute(sa.select(mail_tokens.c.user_id).where(_is_valid(purpose, token_hash)))
    user_id: uuid.UUID | None = rows.scalar_one_or_none()
    if user_id is None:
        raise domain.LinkInvalid()
    return user_id


async def lock_linked_account(conn: AsyncConnection, user_id: uuid.UUID) -> domain.User:
    """Lock the account of a link, as `lock_account` does. Raises `LinkInvalid` if it is missing or disabled."""
    try:
        return (await lock_account(conn, user_id)).user
    except domain.SessionInvalid as error:
        raise domain.LinkInvalid() from error


async def use_link(
    conn: AsyncConnection, purpose: email_jobs.Purpose, token_hash: bytes, user_id: uuid.UUID
) -> domain.User:
    """Lock the account of a link and mark the link as used. Raises `LinkInvalid` if it is not valid, or no longer."""
    user = await lock_linked_account(conn, user_id)
    statement = sa.update(mail_tokens).where(_is_valid(purpose, token_hash)).values(used_at=NOW)
    if (await conn.execute(statement)).rowcount != 1:
        raise domain.LinkInvalid()
    return user


def _is_valid(purpose: email_jobs.Purpose, token_hash: bytes) -> sa.ColumnElement[bool]:
    return sa.and_(
        mail_tokens.c.token_hash == token_hash,
        mail_tokens.c.purpose == purpose.value,
        mail_tokens.c.used_at.is_(None),
        mail_tokens.c.expires_at > NOW,
    )
