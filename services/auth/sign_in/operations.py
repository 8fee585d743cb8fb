"""Sign-in with a password and a second factor, and reauthentication."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from chassis import outbox
from services.auth import domain, passwords, throttling, tokens, validation
from services.auth import storage as account_storage
from services.auth.audit import Kind, by_owner, record, record_attempt
from services.auth.context import (
    Context,
    NewSession,
    begin_session,
    get_current_account,
    is_password,
    lock_account,
    replace_token,
)
from services.auth.second_factor import storage as factor_storage
from services.auth.second_factor import verification

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeRequired:
    """A sign-in that lacks the second factor."""

    challenge: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignIn:
    """The operations. All raise `TooManyAttempts`; `login` and `reauthenticate` also `TooBusy`."""

    context: Context

    async def login(
        self, *, email: str, password: str, client: domain.Client, is_remembered: bool = False
    ) -> NewSession | ChallengeRequired:
        """Begin a session, or a challenge for an account with a second factor.

        Raises `InvalidCredentials` and `InvalidArgument`.
        """
        email = validation.normalize_email(email)
        limits = throttling.of_password(email, client)
        async with self.context.autocommit().connect() as conn:
            account = await account_storage.find_account(conn, email)
        password_hash = account.password_hash if account else None
        until = passwords.deadline()
        is_right = await is_password(self.context, password_hash, password, limits, until=until)
        if account is None or not is_right or account.user.disabled_at is not None:
            await self._refuse_login(email, account, limits, client)
            raise domain.InvalidCredentials()
        new_hash = await self._improved_hash(account.password_hash, password, until)
        async with self.context.transaction() as tx:
            conn, user_id = tx.conn, account.user.user_id
            await account_storage.lock_user(conn, user_id)
            # Checked again: concurrent guesses have been counted meanwhile, so a burst gets no more of them.
            await throttling.refuse_if_blocked(conn, limits)
            current = await account_storage.get_account(conn, user_id)
            # Compares the time, not the hash: another login may have improved the hash meanwhile.
            if (
                current is None
                or current.password_changed_at != account.password_changed_at
                or current.user.disabled_at
            ):
                raise domain.InvalidCredentials()
            await throttling.forget(conn, [throttling.account_key(email, client)])
            if new_hash:
                await account_storage.replace_password_hash(conn, user_id, old=account.password_hash, new=new_hash)
            if current.user.has_second_factor:
                return await _begin_challenge(tx, current.user, is_remembered=is_remembered)
            new = await begin_session(tx, current.user, client, is_remembered=is_remembered)
            await _record_login(tx, new, client)
        logger.info("user signed in", extra={"user_id": user_id, "session_id": new.session.session_id})
        return new

    async def finish_login(self, *, challenge: str, code: str, client: domain.Client) -> NewSession:
        """Answer a challenge with a code. Raises `ChallengeInvalid` and `InvalidCode`."""
        if (challenge_hash := tokens.challenge_hash(challenge)) is None:
            raise domain.ChallengeInvalid()
        new: NewSession | None = None
        async with self.context.transaction() as tx:
            conn = tx.conn
            user_id = await factor_storage.find_challenged_user(conn, challenge_hash)
            if user_id is None:
                raise domain.ChallengeInvalid()
            await account_storage.lock_user(conn, user_id)
            account = await account_storage.get_account(conn, user_id)
            tried = await factor_storage.try_challenge(conn, challenge_hash)
            if tried is None or account is None or not account.user.has_second_factor or account.user.disabled_at:
                raise domain.ChallengeInvalid()
            kind = await verification.spend_code(conn, self.context.keyring, user_id, code)
            if kind is None:
                await record_attempt(conn, Kind.SECOND_FACTOR_FAILED, user_id, client)
            else:
                await factor_storage.use_challenge(conn, challenge_hash)
                new = await begin_session(tx, account.user, client, is_remembered=tried.is_remembered)
                await _record_login(tx, new, client, kind)
        if new is None:
            raise domain.InvalidCode()
        logger.info("user signed in", extra={"user_id": user_id, "session_id": new.session.session_id})
        return new

    async def reauthenticate(
        self, actor: domain.Actor, *, password: str, code: str, client: domain.Client
    ) -> tuple[domain.Session, str]:
        """Check the password, and the code where there is a second factor; the session continues under a new token.

        Raises `InvalidCredentials`, `InvalidCode` and `SessionInvalid`.
        """
        async with self.context.autocommit().connect() as conn:
            account = await get_current_account(conn, actor)
        limits = throttling.of_password(account.user.email, client)
        if not await is_password(self.context, account.password_hash, password, limits):
            async with self.context.transaction() as tx:
                await throttling.count_attempt(tx.conn, limits)
                await record(tx.conn, Kind.REAUTHENTICATION_FAILED, by_owner(actor, client))
            raise domain.InvalidCredentials("The password is incorrect.", field="password")
        new_session: tuple[domain.Session, str] | None = None
        async with self.context.transaction() as tx:
            conn, current = tx.conn, await lock_account(tx.conn, actor.user_id)
            await throttling.refuse_if_blocked(conn, limits)
            if current.password_changed_at != account.password_changed_at:
                raise domain.InvalidCredentials("The password is incorrect.", field="password")
            kind: verification.CodeKind | None = None
            if current.user.has_second_factor:
                kind = await verification.spend_code(conn, self.context.keyring, actor.user_id, code)
            if current.user.has_second_factor and kind is None:
                await record(conn, Kind.REAUTHENTICATION_FAILED, by_owner(actor, client))
            else:
                new_session = await replace_token(tx, actor)
                await throttling.forget(conn, [throttling.account_key(account.user.email, client)])
                await record(conn, Kind.REAUTHENTICATED, by_owner(actor, client))
                if kind is verification.CodeKind.RECOVERY:
                    await record(conn, Kind.RECOVERY_CODE_USED, by_owner(actor, client))
        if new_session is None:
            raise domain.InvalidCode()
        return new_session

    async def _refuse_login(
        self, email: str, account: account_storage.Account | None, limits: throttling.Limits, client: domain.Client
    ) -> None:
        user_id = account.user.user_id if account else None
        async with self.context.transaction() as tx:
            await throttling.count_attempt(tx.conn, limits)
            await record_attempt(tx.conn, Kind.LOGIN_FAILED, user_id, client, email=email)
        logger.info("sign-in refused", extra={"address": client.ip_address, "has_account": account is not None})

    async def _improved_hash(self, password_hash: str, password: str, until: float) -> str | None:
        if not self.context.passwords.is_outdated(password_hash):
            return None
        try:
            return await self.context.passwords.hash(password, until=until)
        except passwords.TooBusy:
            logger.info("outdated password hash kept until the next sign-in")
            return None


async def _begin_challenge(tx: outbox.Transaction, user: domain.User, *, is_remembered: bool) -> ChallengeRequired:
    challenge = tokens.new_challenge()
    challenge_hash = tokens.challenge_hash(challenge) or b""
    expires_at = await factor_storage.insert_challenge(
        tx.conn, user.user_id, challenge_hash=challenge_hash, is_remembered=is_remembered
    )
    return ChallengeRequired(challenge=challenge, expires_at=expires_at)


async def _record_login(
    tx: outbox.Transaction, new: NewSession, client: domain.Client, kind: verification.CodeKind | None = None
) -> None:
    actor = domain.Actor(user_id=new.user.user_id, session_id=new.session.session_id)
    await record(tx.conn, Kind.LOGIN_SUCCEEDED, by_owner(actor, client))
    if kind is verification.CodeKind.RECOVERY:
        await record(tx.conn, Kind.RECOVERY_CODE_USED, by_owner(actor, client))
