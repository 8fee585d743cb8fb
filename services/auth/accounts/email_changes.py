"""Changes of the email address: requested by the user, confirmed from the new address, revocable from the old one."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors, outbox
from services.auth import current_session, domain, throttling, validation
from services.auth.accounts import email_change_storage as storage
from services.auth.accounts.email_change_storage import EmailChange
from services.auth.audit import Kind, Origin, by_owner, record
from services.auth.context import (
    Context,
    end_access,
    lock_account,
    lock_account_with_fresh_session,
    publish_revocation,
)
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.email.jobs import Purpose
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

REVOCABLE_CHANGES = 5
"""Confirmed changes that an account may have within `storage.REVOCABLE_FOR`."""


@dataclass(frozen=True, slots=True)
class EmailChanges:
    context: Context

    async def request(self, actor: domain.Actor, *, email: str, client: domain.Client) -> EmailChange:
        """Email a link to the new address and a notice to the old one; an earlier request is replaced.

        The work is the same if the new address has an account. Raises `InvalidArgument`, `ReauthenticationRequired`,
        `SessionInvalid` and `TooManyAttempts`.
        """
        email = validation.normalize_email(email)
        async with self.context.transaction() as tx:
            user = (await lock_account_with_fresh_session(tx.conn, actor)).user
            if email == user.email:
                raise errors.InvalidArgument("This is already your address.", code="email_unchanged", field="email")
            changes, seconds = await storage.count_revocable(tx.conn, user.user_id)
            if changes >= REVOCABLE_CHANGES:
                raise domain.TooManyAttempts(seconds)
            await throttling.count_each(tx.conn, throttling.of_email_changes(user.user_id, email))
            change = await storage.replace_pending(
                tx.conn, user.user_id, old=user.email, new=email, was_verified=user.email_verified_at is not None
            )
            await record(tx.conn, Kind.EMAIL_CHANGE_REQUESTED, by_owner(actor, client), email=email)
            tx.publish(
                email_jobs.confirm_email_change(user.user_id, change.change_id),
                email_jobs.notice_of_email_change(user.user_id, change.change_id),
            )
        return change

    async def cancel(self, actor: domain.Actor) -> None:
        """Cancel the pending change, if any. Raises `SessionInvalid`."""
        async with self.context.transaction() as tx:
            await current_session.get(tx.conn, actor)
            await lock_account(tx.conn, actor.user_id)
            await cancel_pending(tx.conn, actor.user_id, by_owner(actor))

    async def confirm(self, *, token: str, client: domain.Client) -> str:
        """Change the address by the link to the new one; return the new address.

        Raises `LinkInvalid`, also if the address has got an account meanwhile.
        """
        token_hash = links.link_hash(token)
        async with self.context.autocommit().connect() as conn:
            change = await storage.find_to_confirm(conn, token_hash)
        if change is None:
            raise domain.LinkInvalid()
        origin = Origin(user_id=change.user_id, client=client)
        async with self.context.transaction() as tx:
            await links.lock_linked_account(tx.conn, change.user_id)
            change = await storage.find_to_confirm(tx.conn, token_hash)
            if change is None:
                raise domain.LinkInvalid()
            is_changed = await storage.set_email(tx.conn, change.user_id, change.new_email)
            if is_changed:
                await storage.confirm(tx.conn, change.change_id)
                await _void_links(tx, change)
                publish_revocation(tx, await session_storage.refreshed(tx.conn, change.user_id))
                await record(
                    tx.conn, Kind.EMAIL_CHANGED, origin, email=change.new_email, previous_email=change.old_email
                )
            else:
                await cancel_pending(tx.conn, change.user_id, origin)
        if not is_changed:
            raise domain.LinkInvalid()
        logger.info("address changed", extra={"user_id": change.user_id})
        return change.new_email

    async def revoke(self, *, token: str, client: domain.Client) -> None:
        """Undo a change by the link to the old address: that address is the account's again, and all sessions end.

        Later changes are undone with it. Raises `LinkInvalid`, also if another account has the old address meanwhile.
        """
        token_hash = links.link_hash(token)
        async with self.context.autocommit().connect() as conn:
            change = await storage.find_to_revoke(conn, token_hash)
        if change is None:
            raise domain.LinkInvalid()
        async with self.context.transaction() as tx:
            await links.lock_linked_account(tx.conn, change.user_id)
            change = await storage.find_to_revoke(tx.conn, token_hash)
            if change is None:
                raise domain.LinkInvalid()
            if change.confirmed_at is not None and not await storage.set_email(
                tx.conn, change.user_id, change.old_email
            ):
                raise domain.LinkInvalid()
            await storage.delete_since(tx.conn, change)
            await _void_links(tx, change)
            await factor_storage.void_challenges(tx.conn, change.user_id)
            origin = Origin(user_id=change.user_id, client=client)
            await end_access(tx, origin, domain.RevokeReason.REVOKED_ALL)
            await record(tx.conn, Kind.EMAIL_CHANGE_REVOKED, origin, email=change.new_email)
        logger.info("change of address revoked", extra={"user_id": change.user_id})


async def cancel_pending(conn: AsyncConnection, user_id: uuid.UUID, origin: Origin) -> None:
    """Cancel the pending change of a locked account, if any. Confirmed changes can still be revoked."""
    if change := await storage.delete_pending(conn, user_id):
        await record(conn, Kind.EMAIL_CHANGE_CANCELLED, origin, email=change.new_email)


async def cancel_all_pending(conn: AsyncConnection, admin: domain.Actor | None, *, limit: int) -> int:
    """Cancel at most `limit` pending changes of all users; return their number. Locked accounts are left out."""
    changes = await storage.delete_pending_of_all_users(conn, limit=limit)
    actor_id, session_id = (admin.user_id, admin.session_id) if admin else (None, None)
    for change in changes:
        origin = Origin(user_id=change.user_id, actor_id=actor_id, session_id=session_id)
        await record(conn, Kind.EMAIL_CHANGE_CANCELLED, origin, email=change.new_email)
    return len(changes)


async def _void_links(tx: outbox.Transaction, change: EmailChange) -> None:
    """Void the links that another address has received."""
    for purpose in (Purpose.RESET, Purpose.VERIFY):
        await links.void_link(tx.conn, change.user_id, purpose)
