"""Password changes, password resets and address verification: by the signed-in user or by an emailed link."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from chassis import outbox
from services.auth import current_session, domain, passwords, throttling, validation
from services.auth import storage as account_storage
from services.auth.accounts import email_changes
from services.auth.audit import Kind, Origin, by_owner, record, record_attempt
from services.auth.context import (
    Context,
    end_access,
    get_current_account,
    is_password,
    lock_account,
    publish_revocation,
    replace_token,
)
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.email.jobs import Purpose
from services.auth.email.templates import AccountChange
from services.auth.passkeys import storage as passkey_storage
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordChange:
    """A changed password: the session under its new token, and the number of other sessions that ended."""

    session: domain.Session
    token: str
    revoked_count: int


@dataclass(frozen=True, slots=True)
class Recovery:
    context: Context

    async def change_password(
        self, actor: domain.Actor, *, current: str, new: str, client: domain.Client
    ) -> PasswordChange:
        """Replace the password, end all other sessions and all API tokens.

        The password alone makes the session fresh only without a second factor.
        Raises `InvalidArgument`, `InvalidCredentials`, `SessionInvalid`, `TooManyAttempts` and `TooBusy`.
        """
        async with self.context.autocommit().connect() as conn:
            account = await get_current_account(conn, actor)
        email = account.user.email
        validation.check_password(new, email=email, field="new_password")
        limits = throttling.of_password(email, client)
        origin = by_owner(actor, client)
        until = passwords.deadline()
        if not await is_password(self.context, account.password_hash, current, limits, until=until):
            async with self.context.transaction() as tx:
                await throttling.count_attempt(tx.conn, limits)
                await record(tx.conn, Kind.PASSWORD_CHANGE_FAILED, origin)
            raise domain.InvalidCredentials("The current password is incorrect.", field="current_password")
        new_hash = await self.context.passwords.hash(new, until=until)
        async with self.context.transaction() as tx:
            locked = await lock_account(tx.conn, actor.user_id)
            await throttling.refuse_if_blocked(tx.conn, limits)
            if locked.password_changed_at != account.password_changed_at:
                raise domain.InvalidCredentials("The current password is incorrect.", field="current_password")
            await throttling.count_each(tx.conn, throttling.of_changes("passwords", actor.user_id))
            session, token = await replace_token(tx, actor, is_proof=not locked.user.has_second_factor)
            await _replace_password(tx, locked.user, new_hash, origin)
            revoked_count = await end_access(tx, origin, domain.RevokeReason.PASSWORD_CHANGED, keep=actor.session_id)
            await throttling.forget(tx.conn, [throttling.account_key(email, client)])
            await record(tx.conn, Kind.PASSWORD_CHANGED, origin)
        logger.info("password changed", extra={"user_id": actor.user_id, "session_id": actor.session_id})
        return PasswordChange(session=session, token=token, revoked_count=revoked_count)

    async def request_reset(self, *, email: str, client: domain.Client) -> None:
        """Send a link if the address has an account; the work is the same if it has none.

        Raises `InvalidArgument` and `TooManyAttempts`.
        """
        email = validation.normalize_email(email)
        async with self.context.transaction() as tx:
            await throttling.count_each(tx.conn, throttling.of_emails("reset", email, client))
            account = await account_storage.find_account(tx.conn, email)
            user_id = account.user.user_id if account else None
            await record_attempt(tx.conn, Kind.PASSWORD_RESET_REQUESTED, user_id, client, email=email)
            tx.publish(email_jobs.reset(email))

    async def reset_password(self, *, token: str, password: str, client: domain.Client) -> None:
        """Set the password by a link; end all sessions and API tokens and remove all passkeys.

        Raises `LinkInvalid`, `InvalidArgument` and `TooBusy`. A person who had the old password may have added a passkey, so
        only the new password remains. Reading the address's emails proves ownership: if nobody had proved it before, the second
        factor may be another person's and is removed too. Otherwise it stays, and sign-in asks for it.
        """
        token_hash, user_id = await self._find_link(Purpose.RESET, token)
        async with self.context.autocommit().connect() as conn:
            account = await account_storage.get_account(conn, user_id)
        if account is None:
            raise domain.LinkInvalid()
        validation.check_password(password, email=account.user.email)
        password_hash = await self.context.passwords.hash(password)
        origin = Origin(user_id=user_id, client=client)
        async with self.context.transaction() as tx:
            conn, user = tx.conn, await links.use_link(tx.conn, Purpose.RESET, token_hash, user_id)
            await _replace_password(tx, user, password_hash, origin)
            await end_access(tx, origin, domain.RevokeReason.PASSWORD_RESET)
            await record(conn, Kind.PASSWORD_RESET, origin)
            if removed := await passkey_storage.delete_passkeys(conn, user_id):
                await record(conn, Kind.PASSKEY_REMOVED, origin, count=str(removed))
            if user.email_verified_at is None:
                await account_storage.set_verified(conn, user_id)
                await record(conn, Kind.EMAIL_VERIFIED, origin)
                if await factor_storage.delete_factor(conn, user_id) and user.has_second_factor:
                    await record(conn, Kind.SECOND_FACTOR_DISABLED, origin)
        logger.info("password reset", extra={"user_id": user_id})

    async def request_verification(self, actor: domain.Actor) -> None:
        """Send a link to the user's address unless verified. Raises `SessionInvalid`, `AccountRequired`, `TooManyAttempts`."""
        async with self.context.transaction() as tx:
            (await current_session.get(tx.conn, actor)).require_account()
            user = (await lock_account(tx.conn, actor.user_id)).user
            if user.email_verified_at is not None:
                return
            await throttling.count_each(tx.conn, throttling.of_emails("verify", user.email))
            await record(tx.conn, Kind.EMAIL_VERIFICATION_REQUESTED, by_owner(actor))
            tx.publish(email_jobs.verify(user.user_id))

    async def verify_email(self, *, token: str, client: domain.Client) -> None:
        """Verify the address by an emailed link. Raises `LinkInvalid`."""
        token_hash, user_id = await self._find_link(Purpose.VERIFY, token)
        async with self.context.transaction() as tx:
            await links.use_link(tx.conn, Purpose.VERIFY, token_hash, user_id)
            await account_storage.set_verified(tx.conn, user_id)
            publish_revocation(tx, await session_storage.refreshed(tx.conn, user_id))
            await record(tx.conn, Kind.EMAIL_VERIFIED, Origin(user_id=user_id, client=client))
        logger.info("address verified", extra={"user_id": user_id})

    async def _find_link(self, purpose: Purpose, token: str) -> tuple[bytes, uuid.UUID]:
        token_hash = links.link_hash(token)
        async with self.context.autocommit().connect() as conn:
            return token_hash, await links.find_linked_user(conn, purpose, token_hash)


async def _replace_password(tx: outbox.Transaction, user: domain.User, password_hash: str, origin: Origin) -> None:
    """Store the hash, void challenges and reset links, and email the owner. The caller ends access.

    A person who had the old password may have asked for another address, so a pending change is cancelled.
    """
    await account_storage.set_password(tx.conn, user.user_id, password_hash)
    await email_changes.cancel_pending(tx.conn, user.user_id, origin)
    await factor_storage.void_challenges(tx.conn, user.user_id)
    await links.void_link(tx.conn, user.user_id, Purpose.RESET)
    tx.publish(email_jobs.account_change(user.user_id, AccountChange.PASSWORD_CHANGED))
