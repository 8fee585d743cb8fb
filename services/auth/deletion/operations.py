"""Requests for deletion: begun by the user or an admin, cancelled within the grace period."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta

from chassis import errors, ids, outbox
from services.auth import current_session, domain, throttling, validation
from services.auth.audit import Kind, Origin, by_owner, record
from services.auth.context import (
    Context,
    end_access,
    get_current_account,
    lock_account,
    lock_account_with_fresh_session,
    publish_revocation,
)
from services.auth.deletion import jobs, storage
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.email.jobs import Purpose
from services.auth.email.templates import AccountChange
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage
from worker import outbox as worker_outbox

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deletion:
    context: Context

    async def request(self, actor: domain.Actor, *, email: str, client: domain.Client) -> domain.User:
        """Begin the grace period, end all other sessions and all API tokens; a pending deletion stays as it is.

        Raises `InvalidArgument` (`email` is not the address of the account), `ReauthenticationRequired`, `AdminAccount`,
        `TooManyAttempts` and `SessionInvalid`.
        """
        async with self.context.transaction() as tx:
            user = (await lock_account_with_fresh_session(tx.conn, actor)).user
            if validation.normalize_email(email) != user.email:
                raise errors.InvalidArgument("Enter the email address of this account.", field="email")
            if user.deletion_due_at is None:
                await throttling.count_each(tx.conn, throttling.of_changes("deletions", user.user_id))
                origin = by_owner(actor, client)
                await begin(tx, user, origin, after=self.context.deletion_grace, keep=actor.session_id)
            return (await get_current_account(tx.conn, actor)).user

    async def cancel(self, actor: domain.Actor) -> domain.User:
        """Keep the account; without a pending deletion nothing changes. Raises `SessionInvalid` and `AccountRequired`."""
        async with self.context.transaction() as tx:
            (await current_session.get(tx.conn, actor)).require_account()
            user = (await lock_account(tx.conn, actor.user_id)).user
            await cancel(tx, user.user_id, by_owner(actor))
            return (await get_current_account(tx.conn, actor)).user

    async def cancel_by_link(self, *, token: str, client: domain.Client) -> None:
        """Keep the account by an emailed link. Raises `LinkInvalid`."""
        token_hash = links.link_hash(token)
        async with self.context.transaction() as tx:
            user_id = await links.find_linked_user(tx.conn, Purpose.DELETION, token_hash)
            await links.use_link(tx.conn, Purpose.DELETION, token_hash, user_id)
            await cancel(tx, user_id, Origin(user_id=user_id, client=client))


async def begin(
    tx: outbox.Transaction, user: domain.User, origin: Origin, *, after: timedelta, keep: uuid.UUID | None = None
) -> None:
    """Schedule the deletion of a locked account, end its sessions but `keep` and its API tokens. Raises `AdminAccount`.

    Without a grace period the job is submitted in the same transaction, and nobody can cancel it.
    """
    if user.role is domain.Role.ADMIN:
        raise domain.AdminAccount()
    conn, user_id, deletion_id = tx.conn, user.user_id, ids.uuid7()
    await storage.schedule(conn, user_id, deletion_id, after=after)
    await end_access(tx, origin, domain.RevokeReason.REVOKED_ALL, keep=keep)
    publish_revocation(tx, await session_storage.refreshed(conn, user_id))
    await factor_storage.void_challenges(conn, user_id)
    await record(conn, Kind.DELETION_REQUESTED, origin)
    if after:
        tx.publish(email_jobs.deletion(user_id))
    else:
        tx.publish(worker_outbox.submit_message(jobs.erase(deletion_id)))
    logger.info("deletion requested", extra={"deletion_id": deletion_id})


async def cancel(tx: outbox.Transaction, user_id: uuid.UUID, origin: Origin) -> None:
    """Keep a locked account; do nothing if no deletion is pending."""
    if await storage.cancel(tx.conn, user_id):
        await links.void_link(tx.conn, user_id, Purpose.DELETION)
        publish_revocation(tx, await session_storage.refreshed(tx.conn, user_id))
        await record(tx.conn, Kind.DELETION_CANCELLED, origin)
        tx.publish(email_jobs.account_change(user_id, AccountChange.DELETION_CANCELLED))
