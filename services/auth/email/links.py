"""One-time links of emails in schema `auth`: each account has at most one valid link per purpose."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

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


async def find_linked_user(conn: AsyncConnection, purpose: email_jobs.Purpose, token_hash: bytes) -> uuid.UUID | None:
    """Return the user of a link; None if it is not valid."""
    rows = await conn.execute(sa.select(mail_tokens.c.user_id).where(_is_valid(purpose, token_hash)))
    return rows.scalar_one_or_none()


async def use_link(conn: AsyncConnection, purpose: email_jobs.Purpose, token_hash: bytes) -> bool:
    """Mark a link as used; False if it is not valid, or no longer."""
    statement = sa.update(mail_tokens).where(_is_valid(purpose, token_hash)).values(used_at=NOW)
    return (await conn.execute(statement)).rowcount == 1


def _is_valid(purpose: email_jobs.Purpose, token_hash: bytes) -> sa.ColumnElement[bool]:
    return sa.and_(
        mail_tokens.c.token_hash == token_hash,
        mail_tokens.c.purpose == purpose.value,
        mail_tokens.c.used_at.is_(None),
        mail_tokens.c.expires_at > NOW,
    )
