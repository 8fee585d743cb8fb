"""What the auth service does. Each operation owns its transactions; what others must know leaves through the outbox."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import identity, outbox, postgres
from services.auth import convert, domain, schema, storage
from services.auth.passwords import Passwords, TooBusy

logger = logging.getLogger(__name__)

ENDED_SESSIONS_KEPT_FOR = timedelta(days=7)
DELETE_BATCH = 500
DELETE_BATCHES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A session that has just begun, with its secret."""

    user: domain.User
    session: domain.Session
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """A living session, with the signed identity of its user and when that ends."""

    user: domain.User
    session: domain.Session
    identity: str
    identity_expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The operations, with what they work on. `wake_relay` is called after a commit that told something."""

    engine: AsyncEngine
    passwords: Passwords
    signer: identity.Signer
    wake_relay: Callable[[], None]
    registrations_per_address: int
    """How often one network address may try to register within `domain.ATTEMPTS_WINDOW`."""

    async def register(self, *, email: str, password: str, name: str, client: domain.Client) -> Begun:
        """Make an account and its first session. Raises `InvalidArgument`, `EmailTaken`, `TooManyAttempts` or `TooBusy`."""
        email = domain.normalize_email(email)
        name = domain.clean_name(name)
        domain.check_password(password, email=email)
        await self._count_registration(client)
        password_hash = await self.passwords.hash(password)
        async with self.engine.begin() as conn:
            user = await storage.insert_user(
                conn, email=email, name=name, role=domain.Role.USER, password_hash=password_hash
            )
            begun = await self._begin_session(conn, user, client)
        logger.info("user registered", extra={"user_id": user.user_id, "session_id": begun.session.session_id})
        return begun

    async def login(self, *, email: str, password: str, client: domain.Client) -> Begun:
        """Begin a session. Raises `InvalidArgument`, `InvalidCredentials`, `TooManyAttempts` or `TooBusy`."""
        email = domain.normalize_email(email)
        limits = _failure_limits(email, client)
        async with postgres.autocommit(self.engine).connect() as conn:
            await _refuse_if_blocked(conn, limits)
            found = await storage.find_user(conn, email)
        user, password_hash = found or (None, None)
        if len(password) > domain.PASSWORD_LENGTHS[1]:
            password = ""  # never right, and not worth hashing at any length
        is_right = await self.passwords.verify(password_hash, password)
        if user is None or password_hash is None or not is_right:
            async with self.engine.begin() as conn:
                await storage.count_attempt(conn, limits)
            logger.info("login refused", extra={"address": client.ip_address, "known": user is not None})
            raise domain.InvalidCredentials()
        new_hash = await self._improved_hash(password_hash, password)
        async with self.engine.begin() as conn:
            await storage.lock_user(conn, user.user_id)
            # Again, since guesses made at the same time have been counted meanwhile: no burst gets more of them.
            await _refuse_if_blocked(conn, limits)
            await storage.forget_failures(conn, _account_key(email, client))
            if new_hash:
                await storage.replace_password_hash(conn, user.user_id, old=password_hash, new=new_hash)
            begun = await self._begin_session(conn, user, client)
            surplus = await storage.revoke_surplus_sessions(conn, user.user_id, newest=begun.session.session_id)
            await _tell(conn, surplus)
        self._wake_for(surplus)
        logger.info("user logged in", extra={"user_id": user.user_id, "session_id": begun.session.session_id})
        return begun

    async def validate_session(self, token: str) -> Validated:
        """Answer whose session a token is, renew it when due, vouch for the user. Raises `SessionInvalid`."""
        token_hash = domain.token_hash(token)
        async with postgres.autocommit(self.engine).connect() as conn:
            login = await storage.find_login(conn, token_hash)
            if login is not None and login.is_due:
                await storage.renew_session(conn, login.session.session_id)
                login = await storage.find_login(conn, token_hash)
        if login is None:
            raise domain.SessionInvalid()
        user = identity.User(
            user_id=str(login.user.user_id), role=login.user.role, session_id=str(login.session.session_id)
        )
        vouched, expires = self.signer.user_token(user, lifetime=login.remaining.total_seconds())
        return Validated(
            user=login.user,
            session=login.session,
            identity=vouched,
            identity_expires_at=datetime.fromtimestamp(expires, UTC),
        )

    async def list_sessions(self, user_id: uuid.UUID) -> Sequence[domain.Session]:
        """List the living sessions of a user, most recently used first."""
        async with postgres.autocommit(self.engine).connect() as conn:
            return await storage.list_sessions(conn, user_id)

    async def revoke_session(self, user_id: uuid.UUID, session_id: uuid.UUID, reason: domain.RevokeReason) -> None:
        """End a session of this user; one that has ended stays as it is. Raises `SessionNotFound`."""
        async with self.engine.begin() as conn:
            revocation = await storage.revoke_session(conn, user_id, session_id, reason)
            if revocation is None and not await storage.has_session(conn, user_id, session_id):
                raise domain.SessionNotFound()
            await _tell(conn, revocation)
        self._wake_for(revocation)

    async def revoke_all_sessions(self, user_id: uuid.UUID, *, keep: uuid.UUID | None) -> int:
        """End all sessions of this user but `keep`; gives how many ended."""
        async with self.engine.begin() as conn:
            revocation = await storage.revoke_all_sessions(conn, user_id, keep=keep)
            await _tell(conn, revocation)
        self._wake_for(revocation)
        return len(revocation.session_ids) if revocation else 0

    async def ensure_admin(self, *, email: str, password: str) -> None:
        """Make the admin unless there is one with this address; the password of that one stays.

        Nobody is promoted, since addresses are not verified and anybody may have registered this one.
        Raises `EmailTaken` when an ordinary user has, and `InvalidArgument`.
        """
        email = domain.normalize_email(email)
        domain.check_password(password, email=email)
        if await self._role(email) is None:
            await self._make_admin(email, password)
        if await self._role(email) is not domain.Role.ADMIN:
            raise domain.EmailTaken(field="email")

    async def delete_ended(self) -> None:
        """Delete sessions that ended a week ago and closed throttling windows, in small transactions, a bounded number."""
        for _ in range(DELETE_BATCHES):
            async with self.engine.begin() as conn:
                ended = await storage.delete_ended_sessions(conn, kept_for=ENDED_SESSIONS_KEPT_FOR, limit=DELETE_BATCH)
                closed = await storage.delete_closed_windows(conn, limit=DELETE_BATCH)
            if max(ended, closed) < DELETE_BATCH:
                return

    async def _count_registration(self, client: domain.Client) -> None:
        if not client.network:
            return
        key = f"registrations:{client.network}"
        async with self.engine.begin() as conn:
            await storage.count_attempt(conn, [key])
            # With this one counted and its row locked: no burst gets more of them. A refusal takes its count back.
            await _refuse_if_blocked(conn, {key: self.registrations_per_address + 1})

    async def _role(self, email: str) -> domain.Role | None:
        async with postgres.autocommit(self.engine).connect() as conn:
            found = await storage.find_user(conn, email)
        return found[0].role if found else None

    async def _make_admin(self, email: str, password: str) -> None:
        password_hash = await self.passwords.hash(password)
        try:
            async with self.engine.begin() as conn:
                user = await storage.insert_user(
                    conn, email=email, name="", role=domain.Role.ADMIN, password_hash=password_hash
                )
        except domain.EmailTaken:
            logger.info("somebody else has made an account with the admin's address")
        else:
            logger.info("admin made", extra={"user_id": user.user_id})

    async def _begin_session(self, conn: AsyncConnection, user: domain.User, client: domain.Client) -> Begun:
        token = domain.new_token()
        session = await storage.insert_session(conn, user.user_id, token_hash=domain.token_hash(token), client=client)
        return Begun(user=user, session=session, token=token)

    async def _improved_hash(self, password_hash: str, password: str) -> str | None:
        if not self.passwords.is_outdated(password_hash):
            return None
        try:
            return await self.passwords.hash(password)
        except TooBusy:
            logger.info("an outdated password hash waits for the next login")
            return None

    def _wake_for(self, revocation: domain.Revocation | None) -> None:
        if revocation is not None:
            self.wake_relay()


async def _tell(conn: AsyncConnection, revocation: domain.Revocation | None) -> None:
    if revocation is not None:
        await outbox.add(conn, schema.outbox, [convert.sessions_revoked(revocation)])


async def _refuse_if_blocked(conn: AsyncConnection, limits: dict[str, int]) -> None:
    if seconds := await storage.seconds_blocked(conn, limits):
        raise domain.TooManyAttempts(seconds)


def _failure_limits(email: str, client: domain.Client) -> dict[str, int]:
    limits = {_account_key(email, client): domain.FAILURES_PER_ACCOUNT}
    if client.network:
        limits[f"address:{client.network}"] = domain.FAILURES_PER_ADDRESS
    return limits


def _account_key(email: str, client: domain.Client) -> str:
    # With the address: whoever guesses at an account locks himself out, not its owner.
    return f"account:{email}|{client.network}"
