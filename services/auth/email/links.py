"""The one-time links of mails in schema `auth`: of each account and purpose at most one counts."""

from __future__ import annotations

import uuid
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.accounts import storage as account_storage
from services.auth.accounts.storage import NOW
from services.auth.email import jobs as email_jobs
from services.auth.schema import mail_tokens

KEPT_FOR = timedelta(days=1)


async def replace_link(
    conn: AsyncConnection, user_id: uuid.UUID, purpose: email_jobs.Purpose, *, token_hash: bytes
) -> None:
    """Store a link in the place of the one before. The caller has locked the account."""
    await void_link(conn, user_id, purpose)
    lifetime = email_jobs.LINK_LIFETIMES[purpose]
    values = {"user_id": user_id, "purpose": purpose.value, "token_hash": token_hash, "expires_at": NOW + lifetime}
    await conn.execute(sa.insert(mail_tokens).values(values))


async def void_link(conn: AsyncConnection, user_id: uuid.UUID, purpose: email_jobs.Purpose) -> None:
    """Let no link of this purpose count any more."""
    unused = sa.and_(
        mail_tokens.c.user_id == user_id, mail_tokens.c.purpose == purpose.value, mail_tokens.c.used_at.is_(None)
    )
    await conn.execute(sa.delete(mail_tokens).where(unused))


async def linked_user(conn: AsyncConnection, purpose: email_jobs.Purpose, token_hash: bytes) -> uuid.UUID | None:
    """Say whose link it is; None if it does not count."""
    found = await conn.execute(sa.select(mail_tokens.c.user_id).where(_counts(purpose, token_hash)))
    return found.scalar_one_or_none()


async def use_link(conn: AsyncConnection, purpose: email_jobs.Purpose, token_hash: bytes) -> bool:
    """Use a link; False if it does not count, or no longer."""
    statement = sa.update(mail_tokens).where(_counts(purpose, token_hash)).values(used_at=NOW)
    return (await conn.execute(statement)).rowcount == 1


async def delete_ended_links(conn: AsyncConnection, *, limit: int) -> int:
    """Delete links that ended a day ago; gives how many."""
    over = mail_tokens.c.expires_at < NOW - KEPT_FOR
    return await account_storage.delete_some(conn, mail_tokens, mail_tokens.c.token_hash, over, limit)


def _counts(purpose: email_jobs.Purpose, token_hash: bytes) -> sa.ColumnElement[bool]:
    return sa.and_(
        mail_tokens.c.token_hash == token_hash,
        mail_tokens.c.purpose == purpose.value,
        mail_tokens.c.used_at.is_(None),
        mail_tokens.c.expires_at > NOW,
    )
