"""What all operations stand on: the database, the keys, what policy says; and how what they decided leaves."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import identity, outbox, postgres
from services.auth import convert, domain, schema, tokens
from services.auth.accounts import storage as account_storage
from services.auth.accounts.passwords import Passwords
from services.auth.encryption.keyring import Keyring
from services.auth.passkeys.relying_party import RelyingParty
from services.auth.sessions import storage as session_storage


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, and what leaves when it has been committed."""

    conn: AsyncConnection
    messages: list[outbox.Message] = field(default_factory=list)
    written: list[outbox.Message] = field(default_factory=list)
    """What is in the outbox already."""

    def tell(self, revocation: domain.Revocation | None) -> None:
        """Tell of sessions that ended, or that others must forget."""
        if revocation is not None:
            self.messages.append(convert.sessions_revoked(revocation))

    def mail(self, job: outbox.Message) -> None:
        """Have a mail sent."""
        self.messages.append(job)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that has just begun, with its secret."""

    user: domain.User
    session: domain.Session
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What operations work on."""

    engine: AsyncEngine
    passwords: Passwords
    signer: identity.Signer
    keyring: Keyring
    send: Callable[[Sequence[outbox.Message]], None]
    """Called with what was committed."""
    registrations_per_address: int
    """How often one network address may try to register within `throttling.WINDOW`."""
    is_registration_open: bool = True
    """Whether registering begins a session at once; else it sends a mail."""
    verification_period: timedelta = timedelta()
    """How long an account may see the dashboard before its address is verified; 0 for ever."""
    relying_party: RelyingParty | None = None
    """Who we are to authenticators; None where there can be no passkeys."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Begin a transaction; it is committed when the block ends, and then what it told leaves."""
        async with self.engine.begin() as conn:
            transaction = Transaction(conn)
            yield transaction
            await outbox.add(conn, schema.outbox, transaction.messages)
        if leaving := transaction.messages + transaction.written:
            self.send(leaving)

    def reading(self) -> AsyncEngine:
        """Give the engine whose statements are transactions of their own."""
        return postgres.autocommit(self.engine)

    async def begin_session(
        self, transaction: Transaction, user: domain.User, client: domain.Client, *, is_remembered: bool
    ) -> NewSession:
        """Begin a session, the oldest of too many ends. The caller has locked the account, or just made it."""
        conn, token = transaction.conn, tokens.new_session()
        session = await session_storage.insert_session(
            conn, user.user_id, token_hash=stored(token), client=client, is_remembered=is_remembered
        )
        surplus = await session_storage.revoke_surplus_sessions(conn, user.user_id, newest=session.session_id)
        transaction.tell(surplus)
        return NewSession(user=user, session=session, token=token)

    async def replace_token(self, transaction: Transaction, actor: domain.Actor) -> tuple[domain.Session, str]:
        """Let a session go on under a new token, and others forget the old one. Raises `SessionInvalid`."""
        token = tokens.new_session()
        session = await session_storage.replace_token(transaction.conn, actor, stored(token))
        transaction.tell(
            domain.Revocation(
                user_id=session.user_id,
                session_ids=(session.session_id,),
                reason=domain.REFRESHED,
                revoked_at=session.authenticated_at,
            )
        )
        return session, token


def stored(token: str) -> bytes:
    """Give what is stored of a session's secret. Raises `SessionInvalid` when it cannot be one."""
    if (token_hash := tokens.of_session(token)) is None:
        raise domain.SessionInvalid()
    return token_hash


async def lock_account(conn: AsyncConnection, user_id: uuid.UUID) -> account_storage.Account:
    """Lock an account and read how it stands now. Raises `SessionInvalid` if it is gone or disabled."""
    await account_storage.lock_user(conn, user_id)
    account = await account_storage.get_account(conn, user_id)
    if account is None or account.user.disabled_at is not None:
        raise domain.SessionInvalid()
    return account
