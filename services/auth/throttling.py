"""Counted attempts, blocked above a limit: guesses, registrations, emails, changes of accounts. Shared by all replicas.

A key is blocked when its count within a window has reached its limit. The first attempt opens the window, and nothing extends
it. Password guesses are counted per account and network together: an attacker locks out their own network, not the owner.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain
from services.auth.schema import login_failures
from services.auth.storage import NOW

FAILURES_PER_ACCOUNT = 10
FAILURES_PER_NETWORK = 100
CODES_PER_ACCOUNT = 10
CEREMONIES_PER_NETWORK = 300
EMAILS_PER_RECIPIENT = 3
EMAILS_PER_NETWORK = 20
CHANGES_PER_ACCOUNT = 10
DOWNLOADS_PER_ACCOUNT = 20
WINDOW = timedelta(minutes=15)

Limits = dict[str, int]
"""The attempts that each key allows within a window."""


def of_password(email: str, client: domain.Client) -> Limits:
    """Return the limits of wrong passwords."""
    return {account_key(email, client): FAILURES_PER_ACCOUNT, **_of_network("address", client, FAILURES_PER_NETWORK)}


def of_passkeys(client: domain.Client) -> Limits:
    """Return the limits of refused passkeys: per network only, since passkeys cannot be guessed."""
    return _of_network("address", client, FAILURES_PER_NETWORK)


def of_ceremonies(client: domain.Client) -> Limits:
    """Return the limits of begun passkey sign-ins, each of which stores a row."""
    return _of_network("ceremonies", client, CEREMONIES_PER_NETWORK)


def of_codes(user_id: uuid.UUID) -> Limits:
    """Return the limits of wrong codes: per account from any network, since the caller knows the password."""
    return {f"codes:{user_id}": CODES_PER_ACCOUNT}


def of_registrations(client: domain.Client, per_address: int) -> Limits:
    return _of_network("registrations", client, per_address)


def of_emails(purpose: str, email: str, client: domain.Client = domain.NOWHERE) -> Limits:
    """Return the limits of emails that can be requested without signing in.

    The last email of a window stays valid until the window ends, so requests cannot keep voiding an owner's links.
    """
    return {f"emails:{purpose}:{email}": EMAILS_PER_RECIPIENT, **_of_network("emails", client, EMAILS_PER_NETWORK)}


def of_email_changes(user_id: uuid.UUID, email: str) -> Limits:
    """Return the limits of requests to change an address, each of which sends an email to two addresses.

    The network does not count: its users have proved who they are, and strangers in it must not block them.
    """
    return {f"emails:change:{user_id}": EMAILS_PER_RECIPIENT, **of_emails("change", email)}


def of_changes(name: str, user_id: uuid.UUID) -> Limits:
    """Return the limits of a change of an account that sends an email, to an address that may be a stranger's.

    Its reversal needs no limit: it is as rare.
    """
    return {f"{name}:{user_id}": CHANGES_PER_ACCOUNT}


def of_data_exports(user_id: uuid.UUID) -> Limits:
    """Return the limits of data exports, each of which is a job and an email."""
    return {f"data-exports:{user_id}": EMAILS_PER_RECIPIENT}


def of_downloads(user_id: uuid.UUID) -> Limits:
    """Return the limits of downloads of an export, each of which is an event that stays for a year."""
    return {f"downloads:{user_id}": DOWNLOADS_PER_ACCOUNT}


def account_key(email: str, client: domain.Client) -> str:
    """Return the key of an account and network."""
    return f"account:{email}|{client.network}"


def _of_network(name: str, client: domain.Client, limit: int) -> Limits:
    return {f"{name}:{client.network}": limit} if client.network else {}


async def count_each(conn: AsyncConnection, limits: Limits) -> None:
    """Count an attempt on each key, or raise `TooManyAttempts`; the rollback then undoes the counts.

    The rows stay locked until the transaction ends, so a burst gets no more attempts.
    """
    await count_attempt(conn, limits)
    await refuse_if_blocked(conn, {key: limit + 1 for key, limit in limits.items()})


async def refuse_if_blocked(conn: AsyncConnection, limits: Limits) -> None:
    """Raise `TooManyAttempts` if one of the keys has reached its limit."""
    if seconds := await seconds_blocked(conn, limits):
        raise domain.TooManyAttempts(seconds)


async def seconds_blocked(conn: AsyncConnection, limits: Limits) -> int:
    """Return the seconds until the next attempt is allowed; 0 means now."""
    if not limits:
        return 0
    is_exhausted = sa.or_(
        *(sa.and_(login_failures.c.key == key, login_failures.c.failures >= n) for key, n in limits.items())
    )
    wait = sa.func.max(login_failures.c.window_ends_at) - NOW
    is_open = login_failures.c.window_ends_at > NOW
    blocked: timedelta | None = await conn.scalar(sa.select(wait).where(is_exhausted, is_open))
    return 0 if blocked is None else int(blocked.total_seconds()) + 1


async def count_attempt(conn: AsyncConnection, keys: Iterable[str]) -> None:
    """Count an attempt on each key; the first opens the key's window."""
    for key in sorted(keys):  # one order of locks prevents deadlocks
        await conn.execute(counting(key))


def counting(key: str) -> postgresql.Insert:
    """Return the statement that counts an attempt on a key."""
    window_end = NOW + WINDOW
    is_over = login_failures.c.window_ends_at <= NOW
    statement = postgresql.insert(login_failures).values(key=key, failures=1, window_ends_at=window_end)
    updated = {
        "failures": sa.case((is_over, 1), else_=login_failures.c.failures + 1),
        "window_ends_at": sa.case((is_over, window_end), else_=login_failures.c.window_ends_at),
    }
    return statement.on_conflict_do_update(index_elements=["key"], set_=updated)


async def count_within(conn: AsyncConnection, key: str, limit: int) -> bool:
    """Count an attempt on a key; return whether its window has had no more than `limit`."""
    counted: int = (await conn.execute(counting(key).returning(login_failures.c.failures))).scalar_one()
    return counted <= limit


async def forget(conn: AsyncConnection, keys: Iterable[str]) -> None:
    await conn.execute(sa.delete(login_failures).where(login_failures.c.key.in_(sorted(keys))))
