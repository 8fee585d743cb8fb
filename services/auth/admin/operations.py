"""What admins do with the accounts of others."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids, outbox, paging
from services.auth import audit, domain
from services.auth.accounts import storage as account_storage
from services.auth.audit import Kind, Origin, record
from services.auth.connections.effects import Effects
from services.auth.connections.handlers import maintenance as connections
from services.auth.context import Context, Transaction
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import revoke_all_sessions
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

PAGE = 50
KINDS_LIMIT = 50
PREFIX_LIMIT = 254
EVERYBODY_SECONDS = 3.0
"""How long a call ends sessions; who called does so again if some are left."""


@dataclass(frozen=True, slots=True)
class Administration:
    """The operations. All raise `AdminRequired` and `SessionInvalid`; what changes something `ReauthenticationRequired`."""

    context: Context
    effects: Effects

    async def list_users(
        self, actor: domain.Actor, *, email_prefix: str, page_size: int, page_token: str
    ) -> tuple[Sequence[domain.User], str]:
        """Give a page of accounts, newest first, and the token of the next one. Raises `InvalidArgument`."""
        limit = paging.size(page_size or PAGE)
        prefix = email_prefix.strip().lower()[:PREFIX_LIMIT].replace("\x00", "")
        position = paging.position(page_token, filters=prefix, length=2)
        before = _user_position(position) if position else None
        async with self._reading(actor) as conn:
            found = await account_storage.list_users(conn, email_prefix=prefix, before=before, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        last = [page[-1].created_at.isoformat(), str(page[-1].user_id)] if more else []
        return page, paging.token(last, filters=prefix) if more else ""

    async def get_user(self, actor: domain.Actor, user_id: uuid.UUID) -> tuple[domain.User, Sequence[domain.Session]]:
        """Give an account and its living sessions. Raises `UserNotFound`."""
        async with self._reading(actor) as conn:
            account = await account_storage.get_account(conn, user_id)
            if account is None:
                raise domain.UserNotFound()
            return account.user, await session_storage.list_sessions(conn, user_id)

    async def set_role(self, actor: domain.Actor, user_id: uuid.UUID, role: domain.Role) -> domain.User:
        """Change a role; all sessions of that user end. Raises `UserNotFound` and `OwnAccount`."""
        async with self._changing(actor, user_id) as (transaction, user):
            if user_id == actor.user_id:
                raise domain.OwnAccount()
            if user.role is not role:
                await account_storage.set_role(transaction.conn, user_id, role)
                await self._end_sessions(transaction, user_id, domain.RevokeReason.ROLE_CHANGED)
                await self._record(transaction, actor, Kind.ROLE_CHANGED, user_id, role=role.value)
            return await self._present(transaction, user_id)

    async def disable(self, actor: domain.Actor, user_id: uuid.UUID) -> domain.User:
        """Close an account: sessions, challenges, links and access to platforms end. Raises `UserNotFound` and `OwnAccount`."""
        async with self._changing(actor, user_id) as (transaction, user):
            if user_id == actor.user_id:
                raise domain.OwnAccount()
            if user.disabled_at is None:
                conn = transaction.conn
                await account_storage.set_disabled(conn, user_id, is_disabled=True)
                await self._end_sessions(transaction, user_id, domain.RevokeReason.ACCOUNT_DISABLED)
                await factor_storage.void_challenges(conn, user_id)
                for purpose in email_jobs.LINK_LIFETIMES:
                    await links.void_link(conn, user_id, purpose)
                disconnects = outbox.Transaction(conn)
                await connections.end_of_user(disconnects, self.effects, user_id, actor)
                transaction.messages.extend(disconnects.messages)
                await self._record(transaction, actor, Kind.ACCOUNT_DISABLED, user_id)
            return await self._present(transaction, user_id)

    async def enable(self, actor: domain.Actor, user_id: uuid.UUID) -> domain.User:
        """Open a disabled account again; its user signs in and connects platforms anew. Raises `UserNotFound`."""
        async with self._changing(actor, user_id) as (transaction, user):
            if user.disabled_at is not None:
                await account_storage.set_disabled(transaction.conn, user_id, is_disabled=False)
                await self._record(transaction, actor, Kind.ACCOUNT_ENABLED, user_id)
            return await self._present(transaction, user_id)

    async def revoke_sessions(self, actor: domain.Actor, user_id: uuid.UUID, session_id: uuid.UUID | None) -> int:
        """End one or all sessions of a user; gives how many ended. Raises `UserNotFound` and `SessionNotFound`."""
        async with self._changing(actor, user_id) as (transaction, _):
            conn, reason = transaction.conn, domain.RevokeReason.REVOKED_BY_ADMIN
            if session_id is None:
                revocation = await session_storage.revoke_all_sessions(conn, user_id, reason=reason)
            else:
                revocation = await session_storage.revoke_session(conn, user_id, session_id, reason)
                if revocation is None and not await session_storage.has_session(conn, user_id, session_id):
                    raise domain.SessionNotFound()
            if revocation is None:
                return 0
            transaction.tell(revocation)
            count = len(revocation.session_ids)
            await self._record(transaction, actor, Kind.SESSIONS_REVOKED, user_id, count=str(count))
            return count

    async def revoke_all_users_sessions(self, actor: domain.Actor) -> revoke_all_sessions.Ended:
        """End the sessions of everybody but that of the call."""
        async with self.context.reading().connect() as conn:
            present = await session_storage.get_present(conn, actor)
        _require_admin(present)
        present.require_fresh()
        return await revoke_all_sessions.end_sessions(self.context, admin=actor, seconds=EVERYBODY_SECONDS)

    async def send_reset(self, actor: domain.Actor, user_id: uuid.UUID) -> None:
        """Send the user a link for a new password: nobody else chooses it. Raises `UserNotFound`."""
        async with self._changing(actor, user_id) as (transaction, user):
            transaction.mail(email_jobs.reset(user.email))
            await self._record(transaction, actor, Kind.PASSWORD_RESET_REQUESTED, user_id)

    async def list_events(
        self, actor: domain.Actor, *, user_id: uuid.UUID | None, kinds: Sequence[str], page_size: int, page_token: str
    ) -> tuple[Sequence[audit.Event], str]:
        """Give a page of security events, newest first, and the token of the next one. Raises `InvalidArgument`."""
        limit = paging.size(page_size or PAGE)
        wanted = sorted(kind for kind in set(kinds[:KINDS_LIMIT]) if kind in set(audit.Kind))
        filters = (str(user_id), wanted)
        position = paging.position(page_token, filters=filters, length=1)
        before = _event_position(position) if position else None
        async with self._reading(actor) as conn:
            if kinds and not wanted:
                return [], ""
            found = await audit.list_events(conn, user_id=user_id, kinds=wanted, before=before, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return page, paging.token([str(page[-1].event_id)], filters=filters) if more else ""

    @asynccontextmanager
    async def _reading(self, actor: domain.Actor) -> AsyncIterator[AsyncConnection]:
        async with self.context.reading().connect() as conn:
            _require_admin(await session_storage.get_present(conn, actor))
            yield conn

    @asynccontextmanager
    async def _changing(
        self, actor: domain.Actor, user_id: uuid.UUID
    ) -> AsyncIterator[tuple[Transaction, domain.User]]:
        """Begin a change. Both accounts are locked: of two admins that demote each other, one is too late."""
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await account_storage.lock_users(conn, {actor.user_id, user_id})
            present = await session_storage.get_present(conn, actor)
            _require_admin(present)
            present.require_fresh()
            account = await account_storage.get_account(conn, user_id)
            if account is None:
                raise domain.UserNotFound()
            yield transaction, account.user

    async def _end_sessions(self, transaction: Transaction, user_id: uuid.UUID, reason: domain.RevokeReason) -> None:
        transaction.tell(await session_storage.revoke_all_sessions(transaction.conn, user_id, reason=reason))

    async def _present(self, transaction: Transaction, user_id: uuid.UUID) -> domain.User:
        account = await account_storage.get_account(transaction.conn, user_id)
        if account is None:
            raise domain.UserNotFound()
        return account.user

    async def _record(
        self, transaction: Transaction, actor: domain.Actor, kind: Kind, user_id: uuid.UUID, **details: str
    ) -> None:
        origin = Origin(user_id=user_id, actor_id=actor.user_id, session_id=actor.session_id)
        await record(transaction.conn, kind, origin, **details)
        logger.info("account administered", extra={"kind": kind.value, "user_id": user_id, "actor": actor.user_id})


def _require_admin(present: session_storage.Present) -> None:
    # By the row, not by the signed identity: that one may be five minutes old.
    if present.role is not domain.Role.ADMIN:
        raise domain.AdminRequired()


def _user_position(position: list[str]) -> tuple[datetime, uuid.UUID]:
    try:
        moment = datetime.fromisoformat(position[0])
    except ValueError:
        raise paging.invalid_token() from None
    if moment.tzinfo is None:
        raise paging.invalid_token()
    return moment, ids.parse(position[1], "page_token")


def _event_position(position: list[str]) -> uuid.UUID:
    return ids.parse(position[0], "page_token")
