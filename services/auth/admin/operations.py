"""Administration of other users' accounts."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors, ids, outbox, paging
from services.auth import audit, current_session, domain
from services.auth import storage as account_storage
from services.auth.accounts import email_changes
from services.auth.admin import lists, revoke_all_sessions
from services.auth.api_tokens import storage as token_storage
from services.auth.api_tokens.domain import ApiToken, ApiTokenNotFound
from services.auth.audit import Kind, Origin, record
from services.auth.connections.effects import Effects
from services.auth.connections.handlers import maintenance as connections
from services.auth.context import Context, end_access, publish_revocation
from services.auth.deletion import operations as deletion
from services.auth.deletion import storage as deletion_storage
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.email.templates import AccountChange
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

KINDS_LIMIT = 50
PREFIX_LIMIT = 254
USERS_LIMIT = 100
MAX_COUNT = 100_000
"""Counting stops here."""
REVOKE_ALL_SECONDS = 3.0
"""Time limit of one call; the caller repeats it if sessions are left."""


@dataclass(frozen=True, slots=True)
class Administration:
    """The operations. All raise `AdminRequired` and `SessionInvalid`; changes also `ReauthenticationRequired`."""

    context: Context
    effects: Effects

    async def list_users(
        self, actor: domain.Actor, request: lists.Request, *, email_prefix: str, is_deleting: bool = False
    ) -> lists.Page[domain.User]:
        """Return a page of accounts. Raises `InvalidArgument`."""
        prefix = email_prefix.strip().lower()[:PREFIX_LIMIT].replace("\x00", "")
        async with self._read(actor) as conn:

            async def select(start: paging.Start, count: int) -> Sequence[domain.User]:
                return await account_storage.list_users(
                    conn,
                    email_prefix=prefix,
                    is_deleting=is_deleting,
                    start=_user_position(start.position) if start.position else None,
                    is_ascending=request.oldest_first != start.is_back,
                    limit=count,
                )

            return await lists.read(
                request,
                filters=(prefix, is_deleting),
                length=2,
                select=select,
                position_of=lambda user: [user.created_at.isoformat(), str(user.user_id)],
                count=partial(account_storage.count_users, conn, email_prefix=prefix, is_deleting=is_deleting),
            )

    async def get_user(
        self, actor: domain.Actor, user_id: uuid.UUID
    ) -> tuple[domain.User, Sequence[domain.Session], Sequence[ApiToken]]:
        """Return an account, its live sessions and its API tokens. Raises `UserNotFound`."""
        async with self._read(actor) as conn:
            account = await account_storage.get_account(conn, user_id)
            if account is None:
                raise domain.UserNotFound()
            api_tokens = await token_storage.list_tokens(conn, user_id)
            return account.user, await session_storage.list_sessions(conn, user_id), api_tokens

    async def get_users(self, actor: domain.Actor, user_ids: Collection[uuid.UUID]) -> Sequence[domain.User]:
        """Return the accounts among these ids. Raises `InvalidArgument` above `USERS_LIMIT`."""
        if len(user_ids) > USERS_LIMIT:
            raise errors.InvalidArgument(f"user_ids must be at most {USERS_LIMIT}.", field="user_ids")
        async with self._read(actor) as conn:
            return await account_storage.get_users(conn, user_ids)

    async def set_role(self, actor: domain.Actor, user_id: uuid.UUID, role: domain.Role) -> domain.User:
        """Change a role; end all access of the user and the pending change of the address.

        Raises `UserNotFound`, `OwnAccount` and `DeletionPending`.
        """
        async with self._change(actor, user_id, is_own_allowed=False) as (tx, user):
            if user.deletion_due_at is not None:
                raise domain.DeletionPending()
            if user.role is not role:
                await account_storage.set_role(tx.conn, user_id, role)
                await end_access(tx, _by_admin(actor, user_id), domain.RevokeReason.ROLE_CHANGED)
                await email_changes.cancel_pending(tx.conn, user_id, _by_admin(actor, user_id))
                await self._record(tx, actor, Kind.ROLE_CHANGED, user_id, role=role.value)
            return await self._user(tx, user_id)

    async def disable(self, actor: domain.Actor, user_id: uuid.UUID) -> domain.User:
        """Disable an account; end its sessions, tokens, challenges, links, pending change of address and connections.

        Raises `UserNotFound` and `OwnAccount`.
        """
        async with self._change(actor, user_id, is_own_allowed=False) as (tx, user):
            if user.disabled_at is None:
                conn = tx.conn
                await account_storage.set_disabled(conn, user_id, is_disabled=True)
                await end_access(tx, _by_admin(actor, user_id), domain.RevokeReason.ACCOUNT_DISABLED)
                await factor_storage.void_challenges(conn, user_id)
                for purpose in email_jobs.LINK_LIFETIMES:
                    await links.void_link(conn, user_id, purpose)
                await email_changes.cancel_pending(conn, user_id, _by_admin(actor, user_id))
                await connections.end_of_user(tx, self.effects, user_id, actor)
                await self._record(tx, actor, Kind.ACCOUNT_DISABLED, user_id)
            return await self._user(tx, user_id)

    async def enable(self, actor: domain.Actor, user_id: uuid.UUID) -> domain.User:
        """Enable an account; its user signs in and connects platforms again.

        Raises `UserNotFound`, and `DeletionPending` while it is erased.
        """
        async with self._change(actor, user_id) as (tx, user):
            if await deletion_storage.is_erasing(tx.conn, user_id):
                raise domain.DeletionPending()
            if user.disabled_at is not None:
                await account_storage.set_disabled(tx.conn, user_id, is_disabled=False)
                await self._record(tx, actor, Kind.ACCOUNT_ENABLED, user_id)
            return await self._user(tx, user_id)

    async def revoke_sessions(self, actor: domain.Actor, user_id: uuid.UUID, session_id: uuid.UUID | None) -> int:
        """End one session of a user, or all; return the number of sessions that ended.

        All means API tokens too, and the pending change of the address. Raises `UserNotFound` and `SessionNotFound`.
        """
        async with self._change(actor, user_id) as (tx, _):
            conn, reason = tx.conn, domain.RevokeReason.REVOKED_BY_ADMIN
            if session_id is None:
                count = await end_access(tx, _by_admin(actor, user_id), reason)
                await email_changes.cancel_pending(conn, user_id, _by_admin(actor, user_id))
            else:
                revocation = await session_storage.revoke_session(conn, user_id, session_id, reason)
                if revocation is None and not await session_storage.has_session(conn, user_id, session_id):
                    raise domain.SessionNotFound()
                publish_revocation(tx, revocation)
                count = 1 if revocation else 0
            if count:
                await self._record(tx, actor, Kind.SESSIONS_REVOKED, user_id, count=str(count))
            return count

    async def revoke_api_token(self, actor: domain.Actor, user_id: uuid.UUID, token_id: uuid.UUID) -> None:
        """End an API token of a user; one that has ended stays unchanged. Raises `UserNotFound`, `ApiTokenNotFound`."""
        async with self._change(actor, user_id) as (tx, _):
            revocation = await token_storage.revoke_token(tx.conn, user_id, token_id)
            if revocation is not None:
                publish_revocation(tx, revocation)
                await self._record(tx, actor, Kind.API_TOKEN_REVOKED, user_id, token_id=str(token_id))
            elif await token_storage.find_token(tx.conn, user_id, token_id) is None:
                raise ApiTokenNotFound()

    async def count_sessions(self, actor: domain.Actor) -> session_storage.SessionCount:
        """Count the live sessions of all users, up to `MAX_COUNT`."""
        async with self._read(actor) as conn:
            return await session_storage.count_sessions(conn, limit=MAX_COUNT)

    async def revoke_all_users_sessions(self, actor: domain.Actor) -> revoke_all_sessions.Outcome:
        """End all users' sessions but the caller's, all API tokens, and all pending changes of the address."""
        async with self.context.autocommit().connect() as conn:
            current = await current_session.get(conn, actor)
        _require_admin(current)
        current.require_fresh()
        return await revoke_all_sessions.revoke_all_sessions(self.context, admin=actor, seconds=REVOKE_ALL_SECONDS)

    async def request_deletion(self, actor: domain.Actor, user_id: uuid.UUID, *, immediately: bool) -> domain.User:
        """Begin the deletion of an account, or erase it at once. Raises `UserNotFound`, `OwnAccount`, `AdminAccount`."""
        async with self._change(actor, user_id, is_own_allowed=False) as (tx, user):
            if user.deletion_due_at is None or (
                immediately and not await deletion_storage.is_erasing(tx.conn, user_id)
            ):
                after = timedelta() if immediately else self.context.deletion_grace
                await deletion.begin(tx, user, _by_admin(actor, user_id), after=after)
            return await self._user(tx, user_id)

    async def cancel_deletion(self, actor: domain.Actor, user_id: uuid.UUID) -> domain.User:
        """Keep an account. Raises `UserNotFound`, and `DeletionPending` once it is being erased."""
        async with self._change(actor, user_id) as (tx, _):
            if await deletion_storage.is_erasing(tx.conn, user_id):
                raise domain.DeletionPending()
            await deletion.cancel(tx, user_id, _by_admin(actor, user_id))
            return await self._user(tx, user_id)

    async def send_reset(self, actor: domain.Actor, user_id: uuid.UUID) -> None:
        """Email the user a link for a new password: admins do not choose passwords. Raises `UserNotFound`."""
        async with self._change(actor, user_id) as (tx, user):
            tx.publish(email_jobs.reset(user.email))
            await self._record(tx, actor, Kind.PASSWORD_RESET_REQUESTED, user_id)

    async def remove_second_factor(self, actor: domain.Actor, user_id: uuid.UUID) -> domain.User:
        """Remove a user's second factor and end all access; without one, do nothing. Raises `UserNotFound`, `OwnAccount`."""
        async with self._change(actor, user_id, is_own_allowed=False) as (tx, user):
            if user.has_second_factor:
                await factor_storage.delete_factor(tx.conn, user_id)
                await factor_storage.void_challenges(tx.conn, user_id)
                await end_access(tx, _by_admin(actor, user_id), domain.RevokeReason.REVOKED_BY_ADMIN)
                tx.publish(email_jobs.account_change(user_id, AccountChange.SECOND_FACTOR_DISABLED))
                await self._record(tx, actor, Kind.SECOND_FACTOR_DISABLED, user_id)
            return await self._user(tx, user_id)

    async def list_events(
        self, actor: domain.Actor, request: lists.Request, *, user_id: uuid.UUID | None, kinds: Sequence[str]
    ) -> lists.Page[audit.Event]:
        """Return a page of security events. Raises `InvalidArgument`."""
        valid_kinds = sorted(kind for kind in set(kinds[:KINDS_LIMIT]) if kind in set(audit.Kind))
        async with self._read(actor) as conn:

            async def select(start: paging.Start, count: int) -> Sequence[audit.Event]:
                if kinds and not valid_kinds:
                    return []
                return await audit.list_events(
                    conn,
                    user_id=user_id,
                    kinds=valid_kinds,
                    start=paging.parse_uuid(start.position[0]) if start.position else None,
                    is_ascending=request.oldest_first != start.is_back,
                    limit=count,
                )

            return await lists.read(
                request,
                filters=(str(user_id), valid_kinds),
                length=1,
                select=select,
                position_of=lambda event: [str(event.event_id)],
                count=partial(audit.count_events, conn, user_id=user_id, kinds=valid_kinds),
            )

    @asynccontextmanager
    async def _read(self, actor: domain.Actor) -> AsyncIterator[AsyncConnection]:
        async with self.context.autocommit().connect() as conn:
            _require_admin(await current_session.get(conn, actor))
            yield conn

    @asynccontextmanager
    async def _change(
        self, actor: domain.Actor, user_id: uuid.UUID, *, is_own_allowed: bool = True
    ) -> AsyncIterator[tuple[outbox.Transaction, domain.User]]:
        """Open a transaction with both accounts locked: of two admins who demote each other, only the first succeeds."""
        async with self.context.transaction() as tx:
            conn = tx.conn
            await account_storage.lock_users(conn, {actor.user_id, user_id})
            current = await current_session.get(conn, actor)
            _require_admin(current)
            current.require_fresh()
            user = await self._user(tx, user_id)
            if user_id == actor.user_id and not is_own_allowed:
                raise domain.OwnAccount()
            yield tx, user

    async def _user(self, tx: outbox.Transaction, user_id: uuid.UUID) -> domain.User:
        account = await account_storage.get_account(tx.conn, user_id)
        if account is None:
            raise domain.UserNotFound()
        return account.user

    async def _record(
        self, tx: outbox.Transaction, actor: domain.Actor, kind: Kind, user_id: uuid.UUID, **details: str
    ) -> None:
        await record(tx.conn, kind, _by_admin(actor, user_id), **details)
        logger.info("account administered", extra={"kind": kind.value, "user_id": user_id, "actor": actor.user_id})


def _by_admin(actor: domain.Actor, user_id: uuid.UUID) -> Origin:
    return Origin(user_id=user_id, actor_id=actor.user_id, session_id=actor.session_id)


def _require_admin(current: current_session.CurrentSession) -> None:
    # The role comes from the row: a signed identity may be five minutes old.
    if current.role is not domain.Role.ADMIN:
        raise domain.AdminRequired()


def _user_position(position: list[str]) -> tuple[datetime, uuid.UUID]:
    try:
        moment = datetime.fromisoformat(position[0])
    except ValueError:
        raise paging.invalid_token() from None
    if moment.tzinfo is None:
        raise paging.invalid_token()
    return moment, ids.parse(position[1], "page_token")
