"""What users do with their sessions: see them, end them, prove again who they are."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.auth import audit, domain, throttling
from services.auth.accounts import storage as account_storage
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, lock_account
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage
from services.auth.sign_in import credentials

logger = logging.getLogger(__name__)

EVENTS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How an account is protected, and what happened to it lately."""

    user: domain.User
    password_changed_at: datetime
    second_factor_since: datetime | None
    recovery_codes_left: int
    fresh_until: datetime
    events: Sequence[audit.Event]


@dataclass(frozen=True, slots=True)
class Sessions:
    """The operations. All but `list_sessions` raise `SessionInvalid` when the session they are called in has ended."""

    context: Context

    async def list_sessions(self, user_id: uuid.UUID) -> Sequence[domain.Session]:
        """List the living sessions of a user, most recently used first."""
        async with self.context.reading().connect() as conn:
            return await session_storage.list_sessions(conn, user_id)

    async def revoke_session(self, actor: domain.Actor, session_id: uuid.UUID, reason: domain.RevokeReason) -> None:
        """End a session of this user; one that has ended stays as it is.

        Another one than the present takes a recent proof. Raises `SessionNotFound` and `ReauthenticationRequired`.
        """
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            if session_id != actor.session_id:
                await session_storage.require_fresh(conn, actor)
            revocation = await session_storage.revoke_session(conn, actor.user_id, session_id, reason)
            if revocation is None:
                if not await session_storage.has_session(conn, actor.user_id, session_id):
                    raise domain.SessionNotFound()
                return
            transaction.tell(revocation)
            details = {"revoked": str(session_id), "reason": reason.value}
            await record(conn, Kind.SESSION_REVOKED, by_owner(actor), **details)

    async def revoke_all_sessions(self, actor: domain.Actor, *, keep: uuid.UUID | None) -> int:
        """End all sessions of this user but `keep`; gives how many ended. Raises `ReauthenticationRequired`."""
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await account_storage.lock_user(conn, actor.user_id)
            await session_storage.require_fresh(conn, actor)
            revocation = await session_storage.revoke_all_sessions(conn, actor.user_id, keep=keep)
            if revocation is None:
                return 0
            transaction.tell(revocation)
            count = len(revocation.session_ids)
            await record(conn, Kind.SESSIONS_REVOKED, by_owner(actor), count=str(count))
        return count

    async def reauthenticate(
        self, actor: domain.Actor, *, password: str, code: str, client: domain.Client
    ) -> tuple[domain.Session, str]:
        """Prove again who the user is; the session goes on under a new token.

        Raises `InvalidCredentials`, `InvalidCode`, `TooManyAttempts` and `TooBusy`.
        """
        account = await self._account(actor)
        limits = throttling.of_password(account.user.email, client)
        if not await credentials.is_password(self.context, account.password_hash, password, limits):
            async with self.context.transaction() as transaction:
                await throttling.count_attempt(transaction.conn, limits)
                await record(transaction.conn, Kind.REAUTHENTICATION_FAILED, by_owner(actor, client))
            raise domain.InvalidCredentials(field="password")
        begun: tuple[domain.Session, str] | None = None
        async with self.context.transaction() as transaction:
            conn, present = transaction.conn, await lock_account(transaction.conn, actor.user_id)
            await throttling.refuse_if_blocked(conn, limits)
            if present.password_changed_at != account.password_changed_at:
                raise domain.InvalidCredentials(field="password")
            spent: credentials.Spent | None = None
            if present.user.has_second_factor:
                spent = await credentials.spend_code(conn, self.context.keyring, actor.user_id, code)
            if present.user.has_second_factor and spent is None:
                await record(conn, Kind.REAUTHENTICATION_FAILED, by_owner(actor, client))
            else:
                begun = await self.context.replace_token(transaction, actor)
                await throttling.forget(conn, [throttling.account_key(account.user.email, client)])
                await record(conn, Kind.REAUTHENTICATED, by_owner(actor, client))
                if spent is credentials.Spent.RECOVERY:
                    await record(conn, Kind.RECOVERY_CODE_USED, by_owner(actor, client))
        if begun is None:
            raise domain.InvalidCode()
        return begun

    async def get_security(self, actor: domain.Actor) -> Security:
        """Say how the user's account is protected, and what happened to it lately."""
        account = await self._account(actor)
        async with self.context.reading().connect() as conn:
            present = await session_storage.get_present(conn, actor)
            factor = await factor_storage.get_factor(conn, actor.user_id)
            left = await factor_storage.count_recovery_codes(conn, actor.user_id)
            events = await audit.list_events(conn, user_id=actor.user_id, limit=EVENTS_SHOWN)
        return Security(
            user=account.user,
            password_changed_at=account.password_changed_at,
            second_factor_since=factor.enabled_at if factor else None,
            recovery_codes_left=left,
            fresh_until=present.fresh_until,
            events=events,
        )

    async def _account(self, actor: domain.Actor) -> account_storage.Account:
        async with self.context.reading().connect() as conn:
            await session_storage.get_present(conn, actor)
            account = await account_storage.get_account(conn, actor.user_id)
        if account is None:
            raise domain.SessionInvalid()
        return account
