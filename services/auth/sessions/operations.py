"""Session operations: validate and renew, list, revoke."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chassis import identity, transactions
from services.auth import domain, tokens
from services.auth.accounts import storage as account_storage
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, publish_revocation
from services.auth.sessions import storage as session_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedSession:
    """A live session, with the signed identity of its user."""

    user: domain.User
    session: domain.Session
    identity: str
    identity_expires_at: datetime
    is_renewed: bool


@dataclass(frozen=True, slots=True)
class Sessions:
    """The operations. `revoke_session` and `revoke_all_sessions` raise `SessionInvalid` if the caller's session has ended."""

    context: Context

    async def validate_session(self, token: str, *, passive: bool = False) -> ValidatedSession:
        """Return the session of a token with a signed identity; renew it when due unless `passive`. Raises `SessionInvalid`."""
        (validated,) = await self.validate_sessions([(token, passive)])
        if validated is None:
            raise domain.SessionInvalid()
        return validated

    async def validate_sessions(self, queries: Sequence[tuple[str, bool]]) -> list[ValidatedSession | None]:
        """Validate many (token, passive) pairs; None for each that is invalid."""
        hashed = [(tokens.session_hash(token), passive) for token, passive in queries]
        hashes = {token_hash for token_hash, _ in hashed if token_hash is not None}
        renewed: set[uuid.UUID] = set()
        async with transactions.begin(self.context.autocommit()) as conn:
            logins = await session_storage.find_logins(conn, hashes)
            active = {logins[key].session.session_id for key, passive in hashed if not passive and key in logins}
            due = [login.session.session_id for login in logins.values() if login.is_due]
            if to_renew := [session_id for session_id in due if session_id in active]:
                # One row at a time: a transaction that waits for two can deadlock with one that revokes several sessions.
                renewed = {each for each in to_renew if await session_storage.renew_session(conn, each)}
                logins = await session_storage.find_logins(conn, hashes)
        return [
            self._validated(login, is_renewed=not passive and login.session.session_id in renewed)
            if token_hash is not None and (login := logins.get(token_hash))
            else None
            for token_hash, passive in hashed
        ]

    async def list_sessions(self, user_id: uuid.UUID) -> Sequence[domain.Session]:
        """List the live sessions of a user, most recently used first."""
        async with self.context.autocommit().connect() as conn:
            return await session_storage.list_sessions(conn, user_id)

    async def revoke_session(self, actor: domain.Actor, session_id: uuid.UUID, reason: domain.RevokeReason) -> None:
        """End a session of the caller; one that has ended stays unchanged.

        Any but the current session needs a fresh one. Raises `SessionNotFound` and `ReauthenticationRequired`.
        """
        async with self.context.transaction() as tx:
            if session_id != actor.session_id:
                await session_storage.require_fresh(tx.conn, actor)
            revocation = await session_storage.revoke_session(tx.conn, actor.user_id, session_id, reason)
            if revocation is None:
                if not await session_storage.has_session(tx.conn, actor.user_id, session_id):
                    raise domain.SessionNotFound()
                return
            publish_revocation(tx, revocation)
            details = {"revoked": str(session_id), "reason": reason.value}
            await record(tx.conn, Kind.SESSION_REVOKED, by_owner(actor), **details)

    async def revoke_all_sessions(self, actor: domain.Actor, *, keep: uuid.UUID | None) -> int:
        """End all sessions of the caller but `keep`; return their number. Raises `ReauthenticationRequired`."""
        async with self.context.transaction() as tx:
            await account_storage.lock_user(tx.conn, actor.user_id)
            await session_storage.require_fresh(tx.conn, actor)
            revocation = await session_storage.revoke_all_sessions(tx.conn, actor.user_id, keep=keep)
            if revocation is None:
                return 0
            publish_revocation(tx, revocation)
            count = len(revocation.session_ids)
            await record(tx.conn, Kind.SESSIONS_REVOKED, by_owner(actor), count=str(count))
        return count

    def _validated(self, login: session_storage.Login, *, is_renewed: bool) -> ValidatedSession:
        user = identity.User(
            user_id=str(login.user.user_id),
            role=login.user.role,
            session_id=str(login.session.session_id),
            can_access_dashboard=login.user.can_access_dashboard(self.context.verification_period),
        )
        signed, expires = self.context.signer.user_token(user, lifetime=login.remaining.total_seconds())
        return ValidatedSession(
            user=login.user,
            session=login.session,
            identity=signed,
            identity_expires_at=datetime.fromtimestamp(expires, UTC),
            is_renewed=is_renewed,
        )
