"""Attempts that are counted and stopped: of guessing, of registering, of having mails sent. Shared by all replicas.

A key is stopped when its count within a window has reached its limit; the first attempt opens the window, and nothing prolongs
it. Guesses at a password are counted for the account together with the network they come from: whoever guesses locks himself
out, not the owner.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain
from services.auth.accounts import storage as account_storage
from services.auth.accounts.storage import NOW
from services.auth.schema import login_failures

FAILURES_PER_ACCOUNT = 10
FAILURES_PER_ADDRESS = 100
CODES_PER_ACCOUNT = 10
CEREMONIES_PER_ADDRESS = 300
MAILS_PER_EMAIL = 3
MAILS_PER_ADDRESS = 20
WINDOW = timedelta(minutes=15)

Limits = dict[str, int]
"""How many attempts each key may have."""


def of_password(email: str, client: domain.Client) -> Limits:
    """Give what a wrong password counts for."""
    return {account_key(email, client): FAILURES_PER_ACCOUNT, **_of_network("address", client, FAILURES_PER_ADDRESS)}


def of_passkeys(client: domain.Client) -> Limits:
    """Give what a passkey that was refused counts for: the network, since nobody can guess at the one of an account."""
    return _of_network("address", client, FAILURES_PER_ADDRESS)


def of_ceremonies(client: domain.Client) -> Limits:
    """Give what a sign-in with a passkey counts for that begins: strangers have it written down."""
    return _of_network("ceremonies", client, CEREMONIES_PER_ADDRESS)


def of_codes(user_id: uuid.UUID) -> Limits:
    """Give what a wrong code counts for: the account, wherever it comes from, since who gets so far knows the password."""
    return {f"codes:{user_id}": CODES_PER_ACCOUNT}


def of_registrations(client: domain.Client, per_address: int) -> Limits:
    """Give what a registration counts for."""
    return _of_network("registrations", client, per_address)


def of_mails(purpose: str, email: str, client: domain.Client = domain.NOWHERE) -> Limits:
    """Give what a mail counts for that somebody who is not signed in may have sent.

    No more of them come within a window, so the last one is good until its end: nobody can void an owner's links for good.
    """
    return {f"mails:{purpose}:{email}": MAILS_PER_EMAIL, **_of_network("mails", client, MAILS_PER_ADDRESS)}


def account_key(email: str, client: domain.Client) -> str:
    """Give the key of an account as seen from one network."""
    return f"account:{email}|{client.network}"


def _of_network(name: str, client: domain.Client, limit: int) -> Limits:
    return {f"{name}:{client.network}": limit} if client.network else {}


async def count_each(conn: AsyncConnection, limits: Limits) -> None:
    """Count an attempt on each key, or raise `TooManyAttempts`, upon which the rollback takes the counts back.

    The rows stay locked until the transaction ends: no burst gets more of them.
    """
    await count_attempt(conn, limits)
    await refuse_if_blocked(conn, {key: limit + 1 for key, limit in limits.items()})


async def refuse_if_blocked(conn: AsyncConnection, limits: Limits) -> None:
    """Raise `TooManyAttempts` if one of the keys has reached its limit."""
    if seconds := await seconds_blocked(conn, limits):
        raise domain.TooManyAttempts(seconds)


async def seconds_blocked(conn: AsyncConnection, limits: Limits) -> int:
    """Give the seconds until the next attempt is allowed, 0 if it is now."""
    if not limits:
        return 0
    spent = sa.or_(*(sa.and_(login_failures.c.key == key, login_failures.c.failures >= n) for key, n in limits.items()))
    wait = sa.func.max(login_failures.c.window_ends_at) - NOW
    is_open = login_failures.c.window_ends_at > NOW
    blocked: timedelta | None = await conn.scalar(sa.select(wait).where(spent, is_open))
    return 0 if blocked is None else int(blocked.total_seconds()) + 1


async def count_attempt(conn: AsyncConnection, keys: Iterable[str]) -> None:
    """Count an attempt on each key; the first opens the key's window."""
    window_end = NOW + WINDOW
    is_over = login_failures.c.window_ends_at <= NOW
    for key in sorted(keys):  # everybody locks in the same order
        first = postgresql.insert(login_failures).values(key=key, failures=1, window_ends_at=window_end)
        again = {
            "failures": sa.case((is_over, 1), else_=login_failures.c.failures + 1),
            "window_ends_at": sa.case((is_over, window_end), else_=login_failures.c.window_ends_at),
        }
        await conn.execute(first.on_conflict_do_update(index_elements=["key"], set_=again))


async def forget(conn: AsyncConnection, keys: Iterable[str]) -> None:
    """Forget the attempts of keys."""
    await conn.execute(sa.delete(login_failures).where(login_failures.c.key.in_(sorted(keys))))


async def delete_closed_windows(conn: AsyncConnection, *, limit: int) -> int:
    """Delete counts of attempts whose window is over."""
    closed = login_failures.c.window_ends_at < NOW
    return await account_storage.delete_some(conn, login_failures, login_failures.c.key, closed, limit)
