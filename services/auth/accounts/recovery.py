"""Passwords that are replaced, addresses that are verified: by whoever is signed in, or by a link in a mail."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from services.auth import domain, throttling, tokens
from services.auth.accounts import storage as account_storage
from services.auth.accounts import validation
from services.auth.audit import Kind, Origin, by_owner, record
from services.auth.context import Context, Transaction, lock_account
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.email.jobs import Purpose
from services.auth.email.templates import Notice
from services.auth.passkeys import storage as passkey_storage
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage
from services.auth.sign_in import credentials

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A password was changed: the same session under a new token, and how many others ended."""

    session: domain.Session
    token: str
    revoked_count: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """The operations."""

    context: Context

    async def change_password(self, actor: domain.Actor, *, current: str, new: str, client: domain.Client) -> Changed:
        """Replace the password; all other sessions end.

        Raises `InvalidArgument`, `InvalidCredentials`, `SessionInvalid`, `TooManyAttempts` and `TooBusy`.
        """
        async with self.context.reading().connect() as conn:
            await session_storage.get_present(conn, actor)
            account = await account_storage.get_account(conn, actor.user_id)
        if account is None:
            raise domain.SessionInvalid()
        email = account.user.email
        validation.check_password(new, email=email, field="new_password")
        limits = throttling.of_password(email, client)
        origin = by_owner(actor, client)
        if not await credentials.is_password(self.context, account.password_hash, current, limits):
            async with self.context.transaction() as transaction:
                await throttling.count_attempt(transaction.conn, limits)
                await record(transaction.conn, Kind.PASSWORD_CHANGE_FAILED, origin)
            raise domain.InvalidCredentials(field="current_password")
        new_hash = await self.context.passwords.hash(new)
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            present = await lock_account(conn, actor.user_id)
            await throttling.refuse_if_blocked(conn, limits)
            if present.password_changed_at != account.password_changed_at:
                raise domain.InvalidCredentials(field="current_password")
            session, token = await self.context.replace_token(transaction, actor)
            revoked_count = await self._replace_password(
                transaction, present.user, new_hash, keep=actor.session_id, reason=domain.RevokeReason.PASSWORD_CHANGED
            )
            await throttling.forget(conn, [throttling.account_key(email, client)])
            await record(conn, Kind.PASSWORD_CHANGED, origin)
        logger.info("password changed", extra={"user_id": actor.user_id, "session_id": actor.session_id})
        return Changed(session=session, token=token, revoked_count=revoked_count)

    async def request_reset(self, *, email: str, client: domain.Client) -> None:
        """Have a link sent, if the address has an account; the work is the same if it has none.

        Raises `InvalidArgument` and `TooManyAttempts`.
        """
        email = validation.normalize_email(email)
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await throttling.count_each(conn, throttling.of_mails("reset", email, client))
            account = await account_storage.find_account(conn, email)
            user_id = account.user.user_id if account else None
            origin = Origin(user_id=user_id, client=client)
            await record(conn, Kind.PASSWORD_RESET_REQUESTED, origin, email=email)
            transaction.mail(email_jobs.reset(email))

    async def reset_password(self, *, token: str, password: str, client: domain.Client) -> None:
        """Set the password by a link; all sessions end, all passkeys go. Raises `LinkInvalid`, `InvalidArgument` and `TooBusy`.

        Passkeys, since whoever had the password before may have added one: a reset leaves no way in but the new password.

        Who reads the mails of an address is its owner. If nobody had shown that before, whoever turned a second factor on
        may have been somebody else, so that goes too; else it stays, and signing in asks for it.
        """
        token_hash, user_id = await self._linked(Purpose.RESET, token)
        async with self.context.reading().connect() as conn:
            account = await account_storage.get_account(conn, user_id)
        if account is None:
            raise domain.LinkInvalid()
        validation.check_password(password, email=account.user.email)
        password_hash = await self.context.passwords.hash(password)
        async with self.context.transaction() as transaction:
            conn, user = transaction.conn, await self._lock_linked(transaction, Purpose.RESET, token_hash, user_id)
            await self._replace_password(
                transaction, user, password_hash, keep=None, reason=domain.RevokeReason.PASSWORD_RESET
            )
            await record(conn, Kind.PASSWORD_RESET, Origin(user_id=user_id, client=client))
            if removed := await passkey_storage.delete_passkeys(conn, user_id):
                await record(conn, Kind.PASSKEY_REMOVED, Origin(user_id=user_id, client=client), count=str(removed))
            if user.email_verified_at is None:
                await account_storage.set_verified(conn, user_id)
                await record(conn, Kind.EMAIL_VERIFIED, Origin(user_id=user_id, client=client))
                if await factor_storage.delete_factor(conn, user_id) and user.has_second_factor:
                    await record(conn, Kind.SECOND_FACTOR_DISABLED, Origin(user_id=user_id, client=client))
        logger.info("password reset", extra={"user_id": user_id})

    async def request_verification(self, actor: domain.Actor) -> None:
        """Have a link sent to the user's address, unless it is verified. Raises `SessionInvalid` and `TooManyAttempts`."""
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await session_storage.get_present(conn, actor)
            user = (await lock_account(conn, actor.user_id)).user
            if user.email_verified_at is not None:
                return
            await throttling.count_each(conn, throttling.of_mails("verify", user.email))
            await record(conn, Kind.EMAIL_VERIFICATION_REQUESTED, by_owner(actor))
            transaction.mail(email_jobs.verify(user.user_id))

    async def verify_email(self, *, token: str, client: domain.Client) -> None:
        """Take the link of that mail. Raises `LinkInvalid`."""
        token_hash, user_id = await self._linked(Purpose.VERIFY, token)
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await self._lock_linked(transaction, Purpose.VERIFY, token_hash, user_id)
            await account_storage.set_verified(conn, user_id)
            transaction.tell(await session_storage.refreshed(conn, user_id))
            await record(conn, Kind.EMAIL_VERIFIED, Origin(user_id=user_id, client=client))
        logger.info("address verified", extra={"user_id": user_id})

    async def _linked(self, purpose: Purpose, token: str) -> tuple[bytes, uuid.UUID]:
        if (token_hash := tokens.of_link(token)) is None:
            raise domain.LinkInvalid()
        async with self.context.reading().connect() as conn:
            user_id = await links.linked_user(conn, purpose, token_hash)
        if user_id is None:
            raise domain.LinkInvalid()
        return token_hash, user_id

    async def _lock_linked(
        self, transaction: Transaction, purpose: Purpose, token_hash: bytes, user_id: uuid.UUID
    ) -> domain.User:
        try:
            account = await lock_account(transaction.conn, user_id)
        except domain.SessionInvalid as error:
            raise domain.LinkInvalid() from error
        if not await links.use_link(transaction.conn, purpose, token_hash):
            raise domain.LinkInvalid()
        return account.user

    async def _replace_password(
        self,
        transaction: Transaction,
        user: domain.User,
        password_hash: str,
        *,
        keep: uuid.UUID | None,
        reason: domain.RevokeReason,
    ) -> int:
        """Store the hash; what the old password began, or could begin, ends."""
        conn = transaction.conn
        await account_storage.set_password(conn, user.user_id, password_hash)
        await factor_storage.void_challenges(conn, user.user_id)
        await links.void_link(conn, user.user_id, Purpose.RESET)
        revocation = await session_storage.revoke_all_sessions(conn, user.user_id, keep=keep, reason=reason)
        transaction.tell(revocation)
        transaction.mail(email_jobs.notice(user.user_id, Notice.PASSWORD_CHANGED))
        return len(revocation.session_ids) if revocation else 0
