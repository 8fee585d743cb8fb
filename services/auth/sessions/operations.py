"""Session operations: validate and renew, list, revoke. API tokens are validated like sessions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from chassis import identity, transactions
from services.auth import current_session, domain, tokens
from services.auth import storage as account_storage
from services.auth.api_tokens import storage as token_storage
from services.auth.api_tokens.domain import ApiToken, ApiTokenInvalid
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, publish_revocation
from services.auth.sessions import storage as session_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedSession:
    """A live session or an active API token, with the signed identity of its user."""

    user: domain.User
    access: domain.Session | ApiToken
    identity: str
    identity_expires_at: datetime
    is_renewed: bool


@dataclass(frozen=True, slots=True)
class Sessions:
    """The operations. `revoke_session` and `revoke_all_sessions` raise `SessionInvalid` if the caller's session has ended."""

    context: Context

    async def validate_session(self, token: str, *, passive: bool = False) -> ValidatedSession:
        """Return the session of a token with a signed identity; renew it when due unless `passive`.

        Raises `SessionInvalid`, and `ApiTokenInvalid` for a text that begins like an API token.
        """
        (validated,) = await self.validate_sessions([(token, passive)])
        if validated is None:
            raise ApiTokenInvalid() if tokens.is_api_token(token) else domain.SessionInvalid()
        return validated

    async def validate_sessions(self, queries: Sequence[tuple[str, bool]]) -> list[ValidatedSession | None]:
        """Validate many (token, passive) pairs of sessions and API tokens; None for each that is invalid."""
        if any(tokens.is_api_token(token) for token, _ in queries):
            return await self._validate_mixed(queries)
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
            self._validated_session(login, is_renewed=not passive and login.session.session_id in renewed)
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
                await current_session.require_fresh(tx.conn, actor)
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
            await current_session.require_fresh(tx.conn, actor)
            revocation = await session_storage.revoke_all_sessions(tx.conn, actor.user_id, keep=keep)
            if revocation is None:
                return 0
            publish_revocation(tx, revocation)
            count = len(revocation.session_ids)
            await record(tx.conn, Kind.SESSIONS_REVOKED, by_owner(actor), count=str(count))
        return count

    async def _validate_mixed(self, queries: Sequence[tuple[str, bool]]) -> list[ValidatedSession | None]:
        """Validate API tokens and session tokens."""
        hashed = [tokens.api_token_hash(token) for token, _ in queries]
        async with transactions.begin(self.context.autocommit()) as conn:
            active = await token_storage.find_active(conn, {each for each in hashed if each is not None})
            for key in sorted({key for key, (_, passive) in zip(hashed, queries, strict=True) if key and not passive}):
                if key in active and active[key].is_due:
                    await token_storage.note_use(conn, active[key].api_token.token_id)
        others = [query for query in queries if not tokens.is_api_token(query[0])]
        of_sessions = iter(await self.validate_sessions(others) if others else [])
        return [
            (self._validated_token(active[key]) if key in active else None)
            if tokens.is_api_token(token)
            else next(of_sessions)
            for key, (token, _) in zip(hashed, queries, strict=True)
        ]

    def _validated_session(self, login: session_storage.Login, *, is_renewed: bool) -> ValidatedSession:
        user = self._user(login.user, login.session.session_id, role=login.user.role)
        return self._with_identity(user, login.user, login.session, login.remaining, is_renewed=is_renewed)

    def _validated_token(self, active: token_storage.ActiveToken) -> ValidatedSession:
        # Without the role: an API token never administers.
        user = replace(self._user(active.user, active.api_token.token_id), scopes=frozenset(active.api_token.scopes))
        return self._with_identity(user, active.user, active.api_token, active.remaining, is_renewed=False)

    def _user(self, user: domain.User, access_id: uuid.UUID, role: domain.Role = domain.Role.USER) -> identity.User:
        return identity.User(
            user_id=str(user.user_id),
            role=role,
            session_id=str(access_id),
            can_access_dashboard=user.can_access_dashboard(self.context.verification_period),
        )

    def _with_identity(
        self,
        signed_user: identity.User,
        user: domain.User,
        access: domain.Session | ApiToken,
        remaining: timedelta,
        *,
        is_renewed: bool,
    ) -> ValidatedSession:
        signed, expires = self.context.signer.user_token(signed_user, lifetime=remaining.total_seconds())
        return ValidatedSession(
            user=user,
            access=access,
            identity=signed,
            identity_expires_at=datetime.fromtimestamp(expires, UTC),
            is_renewed=is_renewed,
        )
