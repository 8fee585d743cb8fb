"""The dependencies of every operation (database, keys, policy), and the steps that several features share."""

from __future__ import annotations

import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import identity, outbox, postgres
from services.auth import audit, convert, current_session, domain, schema, throttling, tokens, validation
from services.auth import storage as account_storage
from services.auth.api_tokens import storage as token_storage
from services.auth.email import jobs as email_jobs
from services.auth.encryption.keyring import Keyring
from services.auth.passkeys.relying_party import RelyingParty
from services.auth.passwords import Passwords
from services.auth.sessions import devices
from services.auth.sessions import storage as session_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that has just begun, with its token."""

    user: domain.User
    session: domain.Session
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The dependencies of every operation."""

    engine: AsyncEngine
    passwords: Passwords
    signer: identity.Signer
    keyring: Keyring
    relay: outbox.Sender | None
    """Sends committed messages; without one the relays of other processes do."""
    registrations_per_address: int
    """Registrations that one network address may try within `throttling.WINDOW`."""
    max_guests: int = 0
    """Guests that may exist at once; 0: none."""
    is_registration_open: bool = True
    """Whether registration begins a session at once; otherwise it sends an email."""
    verification_period: timedelta = timedelta()
    """Time for which an account sees the dashboard without a verified address; 0 means forever."""
    deletion_grace: timedelta = timedelta(days=14)
    """Time between the request for a deletion and the erasure; 0: none."""
    relying_party: RelyingParty | None = None
    """None where browsers do not offer passkeys."""

    def transaction(self) -> AbstractAsyncContextManager[outbox.Transaction]:
        """Open a transaction whose messages are published after its commit."""
        return outbox.transaction(self.engine, schema.outbox, self.relay)

    def autocommit(self) -> AsyncEngine:
        """Return the engine with every statement a transaction of its own, for reads."""
        return postgres.autocommit(self.engine)


async def begin_session(
    tx: outbox.Transaction, user: domain.User, client: domain.Client, *, is_remembered: bool
) -> NewSession:
    """Begin a session, and revoke the oldest beyond the limit. A new device sends an email to the account's owner.

    The caller has locked or just inserted the account.
    """
    token = tokens.new_session()
    session = await session_storage.insert_session(
        tx.conn, user.user_id, token_hash=session_token_hash(token), client=client, is_remembered=is_remembered
    )
    surplus = await session_storage.revoke_surplus_sessions(tx.conn, user.user_id, newest=session.session_id)
    publish_revocation(tx, surplus)
    recognition = await devices.recognize(tx.conn, user.user_id, devices.device_hash(user.user_id, client))
    # A client that keeps no cookie is new at each sign-in.
    if recognition.is_noteworthy and await throttling.count_within(
        tx.conn, f"emails:device:{user.user_id}", throttling.EMAILS_PER_RECIPIENT
    ):
        tx.publish(email_jobs.new_device(user.user_id, session.session_id))
    return NewSession(user=user, session=session, token=token)


async def replace_token(
    tx: outbox.Transaction, actor: domain.Actor, *, is_proof: bool = True
) -> tuple[domain.Session, str]:
    """Replace the token of a session, and mark it fresh if `is_proof`; caches drop the old token. Raises `SessionInvalid`."""
    token = tokens.new_session()
    session = await session_storage.replace_token(tx.conn, actor, session_token_hash(token), is_proof=is_proof)
    revocation = domain.Revocation(
        user_id=session.user_id,
        session_ids=(session.session_id,),
        reason=domain.REFRESHED,
        revoked_at=session.last_seen_at,
    )
    publish_revocation(tx, revocation)
    return session, token


async def end_access(
    tx: outbox.Transaction, origin: audit.Origin, reason: domain.RevokeReason, *, keep: uuid.UUID | None = None
) -> int:
    """End all sessions of an account but `keep`, and all of its API tokens; return the number of sessions that ended."""
    user_id = origin.user_id
    if user_id is None:
        raise ValueError("Access belongs to an account.")
    revocation = await session_storage.revoke_all_sessions(tx.conn, user_id, keep=keep, reason=reason)
    publish_revocation(tx, revocation)
    of_tokens = await token_storage.revoke_tokens(tx.conn, user_id, reason)
    if of_tokens is not None:
        publish_revocation(tx, of_tokens)
        count = str(len(of_tokens.session_ids))
        await audit.record(tx.conn, audit.Kind.API_TOKEN_REVOKED, origin, count=count, reason=reason.value)
    return len(revocation.session_ids) if revocation else 0


def publish_revocation(tx: outbox.Transaction, revocation: domain.Revocation | None) -> None:
    """Publish that sessions ended, or that caches must drop them; None publishes nothing."""
    if revocation is not None:
        tx.publish(convert.sessions_revoked(revocation))


async def is_password(
    context: Context,
    password_hash: str | None,
    password: str,
    limits: throttling.Limits,
    *,
    until: float | None = None,
) -> bool:
    """Return whether a password matches a hash; for None it never does and takes as long. Counts nothing.

    Raises `TooManyAttempts` before any work, and `TooBusy` at `until` (see `Passwords`). A caller that then signs the user in
    checks the limits again with the account locked: concurrent guesses have been counted meanwhile, and a burst gets no more.
    """
    async with context.autocommit().connect() as conn:
        await throttling.refuse_if_blocked(conn, limits)
    if len(password) > validation.PASSWORD_LENGTHS[1]:
        password = ""  # never correct, and too long to be worth hashing
    return await context.passwords.verify(password_hash, password, until=until)


def session_token_hash(token: str) -> bytes:
    """Return the stored hash of a session's token. Raises `SessionInvalid` if it has another form."""
    if (token_hash := tokens.session_hash(token)) is None:
        raise domain.SessionInvalid()
    return token_hash


async def get_current_account(conn: AsyncConnection, actor: domain.Actor) -> account_storage.Account:
    """Read the caller's account. Raises `SessionInvalid` if the session has ended."""
    await current_session.get(conn, actor)
    account = await account_storage.get_account(conn, actor.user_id)
    if account is None:
        raise domain.SessionInvalid()
    return account


async def lock_account(conn: AsyncConnection, user_id: uuid.UUID) -> account_storage.Account:
    """Lock an account, then read its current row. Raises `SessionInvalid` if it is missing or disabled."""
    await account_storage.lock_user(conn, user_id)
    account = await account_storage.get_account(conn, user_id)
    if account is None or account.user.disabled_at is not None:
        raise domain.SessionInvalid()
    return account


async def lock_account_with_fresh_session(conn: AsyncConnection, actor: domain.Actor) -> account_storage.Account:
    """Lock the caller's account for a sensitive change. Raises `SessionInvalid` and `ReauthenticationRequired`."""
    account = await lock_account(conn, actor.user_id)
    await current_session.require_fresh(conn, actor)
    return account
