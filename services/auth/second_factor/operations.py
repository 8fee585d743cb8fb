"""Turning an authenticator app on and off, and its recovery codes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.auth import domain, throttling
from services.auth.accounts import validation
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, Transaction, lock_account
from services.auth.email import jobs as email_jobs
from services.auth.email.templates import Notice
from services.auth.second_factor import codes
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage
from services.auth.sign_in import credentials

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A secret that waits to be confirmed."""

    secret: str
    uri: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Enabled:
    """The second factor is on: what is told once."""

    recovery_codes: Sequence[str]
    session: domain.Session
    token: str


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """The operations. All raise `ReauthenticationRequired` without a recent proof, and `SessionInvalid`."""

    context: Context

    async def begin(self, actor: domain.Actor) -> Offered:
        """Make the secret of an app. Raises `SecondFactorEnabled`."""
        async with self.context.transaction() as transaction:
            user = await _begin_change(transaction, actor)
            if user.has_second_factor:
                raise domain.SecondFactorEnabled()
            secret = codes.new_secret()
            sealed = self.context.keyring.encrypt(secret, associated_data=codes.associated_data(user.user_id))
            expires_at = await factor_storage.begin_factor(transaction.conn, user.user_id, sealed)
        return Offered(secret=secret, uri=codes.uri(secret, email=user.email), expires_at=expires_at)

    async def confirm(self, actor: domain.Actor, code: str) -> Enabled:
        """Turn the second factor on. Raises `InvalidCode`, `SecondFactorNotBegun` and `TooManyAttempts`."""
        enabled: Enabled | None = None
        async with self.context.transaction() as transaction:
            conn, user = transaction.conn, await _begin_change(transaction, actor)
            limits = throttling.of_codes(user.user_id)
            await throttling.refuse_if_blocked(conn, limits)
            factor = await factor_storage.get_factor(conn, user.user_id)
            if factor is None or not factor.is_waiting:
                raise domain.SecondFactorNotBegun()
            secret = self.context.keyring.decrypt(
                factor.sealed_secret, associated_data=codes.associated_data(user.user_id)
            )
            step = codes.matching_step(secret, validation.clean_code(code), now=factor.now)
            if step is None:
                await throttling.count_attempt(conn, limits)
                await _record(transaction, actor, Kind.SECOND_FACTOR_FAILED)
            elif not await factor_storage.enable_factor(conn, user.user_id, step=step):
                raise domain.SecondFactorNotBegun()
            else:
                recovery_codes = await _new_recovery_codes(transaction, actor, secret)
                session, token = await self._changed(transaction, actor, Notice.SECOND_FACTOR_ENABLED)
                await throttling.forget(conn, limits)
                await _record(transaction, actor, Kind.SECOND_FACTOR_ENABLED)
                enabled = Enabled(recovery_codes=recovery_codes, session=session, token=token)
        if enabled is None:
            raise domain.InvalidCode()
        logger.info("second factor enabled", extra={"user_id": actor.user_id})
        return enabled

    async def disable(self, actor: domain.Actor, code: str) -> tuple[domain.Session, str]:
        """Turn the second factor off. Raises `InvalidCode`, `SecondFactorNotEnabled` and `TooManyAttempts`."""
        begun: tuple[domain.Session, str] | None = None
        async with self.context.transaction() as transaction:
            conn, user = transaction.conn, await _begin_change(transaction, actor)
            spent = await credentials.spend_code(conn, self.context.keyring, user.user_id, code)
            if spent is None:
                await _record(transaction, actor, Kind.SECOND_FACTOR_FAILED)
            else:
                await factor_storage.delete_factor(conn, user.user_id)
                await factor_storage.void_challenges(conn, user.user_id)
                begun = await self._changed(transaction, actor, Notice.SECOND_FACTOR_DISABLED)
                if spent is credentials.Spent.RECOVERY:
                    await _record(transaction, actor, Kind.RECOVERY_CODE_USED)
                await _record(transaction, actor, Kind.SECOND_FACTOR_DISABLED)
        if begun is None:
            raise domain.InvalidCode()
        logger.info("second factor disabled", extra={"user_id": actor.user_id})
        return begun

    async def regenerate_recovery_codes(self, actor: domain.Actor) -> Sequence[str]:
        """Replace all recovery codes. Raises `SecondFactorNotEnabled`."""
        async with self.context.transaction() as transaction:
            user = await _begin_change(transaction, actor)
            factor = await factor_storage.get_factor(transaction.conn, user.user_id)
            if factor is None or factor.enabled_at is None:
                raise domain.SecondFactorNotEnabled()
            secret = self.context.keyring.decrypt(
                factor.sealed_secret, associated_data=codes.associated_data(user.user_id)
            )
            made = await _new_recovery_codes(transaction, actor, secret)
            await _record(transaction, actor, Kind.RECOVERY_CODES_REPLACED)
        return made

    async def _changed(
        self, transaction: Transaction, actor: domain.Actor, notice: Notice
    ) -> tuple[domain.Session, str]:
        session, token = await self.context.replace_token(transaction, actor)
        # The others go on, but what is remembered of their user is no longer right.
        transaction.tell(await session_storage.refreshed(transaction.conn, actor.user_id))
        transaction.mail(email_jobs.notice(actor.user_id, notice))
        return session, token


async def _begin_change(transaction: Transaction, actor: domain.Actor) -> domain.User:
    account = await lock_account(transaction.conn, actor.user_id)
    await session_storage.require_fresh(transaction.conn, actor)
    return account.user


async def _new_recovery_codes(transaction: Transaction, actor: domain.Actor, secret: str) -> Sequence[str]:
    made = codes.new_recovery_codes()
    hashes = [codes.recovery_hash(secret, code) for code in made]
    await factor_storage.replace_recovery_codes(transaction.conn, actor.user_id, hashes)
    return made


async def _record(transaction: Transaction, actor: domain.Actor, kind: Kind) -> None:
    await record(transaction.conn, kind, by_owner(actor))
