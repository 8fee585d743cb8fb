"""The second factor of an account: turned on and off, and its recovery codes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import outbox
from services.auth import domain, throttling, validation
from services.auth.audit import Kind, by_owner, record
from services.auth.context import (
    Context,
    lock_account_with_fresh_session,
    publish_revocation,
    replace_token,
)
from services.auth.email import jobs as email_jobs
from services.auth.email.templates import AccountChange
from services.auth.second_factor import codes, verification
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingFactor:
    """A secret that waits for confirmation."""

    secret: str
    uri: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnabledFactor:
    """A second factor just turned on, with its recovery codes in clear for the only time."""

    recovery_codes: Sequence[str]
    session: domain.Session
    token: str


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """The operations. All raise `ReauthenticationRequired` and `SessionInvalid`."""

    context: Context

    async def begin(self, actor: domain.Actor) -> PendingFactor:
        """Create the secret of an app. Raises `SecondFactorEnabled`."""
        async with self.context.transaction() as tx:
            user = (await lock_account_with_fresh_session(tx.conn, actor)).user
            if user.has_second_factor:
                raise domain.SecondFactorEnabled()
            secret = codes.new_secret()
            encrypted = self.context.keyring.encrypt(secret, associated_data=codes.associated_data(user.user_id))
            expires_at = await factor_storage.begin_factor(tx.conn, user.user_id, encrypted)
        return PendingFactor(secret=secret, uri=codes.uri(secret, email=user.email), expires_at=expires_at)

    async def confirm(self, actor: domain.Actor, code: str) -> EnabledFactor:
        """Turn the second factor on. Raises `InvalidCode`, `SecondFactorNotBegun` and `TooManyAttempts`."""
        enabled: EnabledFactor | None = None
        async with self.context.transaction() as tx:
            conn, user = tx.conn, (await lock_account_with_fresh_session(tx.conn, actor)).user
            limits = throttling.of_codes(user.user_id)
            await throttling.refuse_if_blocked(conn, limits)
            factor = await factor_storage.get_factor(conn, user.user_id)
            if factor is None or not factor.is_pending:
                raise domain.SecondFactorNotBegun()
            secret = self._secret(factor)
            step = codes.matching_step(secret, validation.clean_code(code), now=factor.now)
            if step is None:
                await throttling.count_attempt(conn, limits)
                await record(conn, Kind.SECOND_FACTOR_FAILED, by_owner(actor))
            elif not await factor_storage.enable_factor(conn, user.user_id, step=step):
                raise domain.SecondFactorNotBegun()
            else:
                await throttling.count_each(conn, throttling.of_changes("second-factors", user.user_id))
                recovery_codes = await _replace_recovery_codes(tx, actor, secret)
                session, token = await _finish_change(tx, actor, AccountChange.SECOND_FACTOR_ENABLED)
                await throttling.forget(conn, limits)
                await record(conn, Kind.SECOND_FACTOR_ENABLED, by_owner(actor))
                enabled = EnabledFactor(recovery_codes=recovery_codes, session=session, token=token)
        if enabled is None:
            raise domain.InvalidCode()
        logger.info("second factor enabled", extra={"user_id": actor.user_id})
        return enabled

    async def disable(self, actor: domain.Actor, code: str) -> tuple[domain.Session, str]:
        """Turn the second factor off. Raises `InvalidCode`, `SecondFactorNotEnabled` and `TooManyAttempts`."""
        new_session: tuple[domain.Session, str] | None = None
        async with self.context.transaction() as tx:
            conn, user = tx.conn, (await lock_account_with_fresh_session(tx.conn, actor)).user
            kind = await verification.spend_code(conn, self.context.keyring, user.user_id, code)
            if kind is None:
                await record(conn, Kind.SECOND_FACTOR_FAILED, by_owner(actor))
            else:
                await factor_storage.delete_factor(conn, user.user_id)
                await factor_storage.void_challenges(conn, user.user_id)
                new_session = await _finish_change(tx, actor, AccountChange.SECOND_FACTOR_DISABLED)
                if kind is verification.CodeKind.RECOVERY:
                    await record(conn, Kind.RECOVERY_CODE_USED, by_owner(actor))
                await record(conn, Kind.SECOND_FACTOR_DISABLED, by_owner(actor))
        if new_session is None:
            raise domain.InvalidCode()
        logger.info("second factor disabled", extra={"user_id": actor.user_id})
        return new_session

    async def regenerate_recovery_codes(self, actor: domain.Actor) -> Sequence[str]:
        """Replace all recovery codes. Raises `SecondFactorNotEnabled` and `TooManyAttempts`."""
        async with self.context.transaction() as tx:
            user = (await lock_account_with_fresh_session(tx.conn, actor)).user
            factor = await factor_storage.get_factor(tx.conn, user.user_id)
            if factor is None or factor.enabled_at is None:
                raise domain.SecondFactorNotEnabled()
            await throttling.count_each(tx.conn, throttling.of_changes("recovery-codes", user.user_id))
            recovery_codes = await _replace_recovery_codes(tx, actor, self._secret(factor))
            tx.publish(email_jobs.account_change(actor.user_id, AccountChange.RECOVERY_CODES_REPLACED))
            await record(tx.conn, Kind.RECOVERY_CODES_REPLACED, by_owner(actor))
        return recovery_codes

    def _secret(self, factor: factor_storage.Factor) -> str:
        return self.context.keyring.decrypt(factor.sealed_secret, associated_data=codes.associated_data(factor.user_id))


async def _finish_change(
    tx: outbox.Transaction, actor: domain.Actor, change: AccountChange
) -> tuple[domain.Session, str]:
    session, token = await replace_token(tx, actor)
    # The other sessions continue, but caches hold an outdated user.
    publish_revocation(tx, await session_storage.refreshed(tx.conn, actor.user_id))
    tx.publish(email_jobs.account_change(actor.user_id, change))
    return session, token


async def _replace_recovery_codes(tx: outbox.Transaction, actor: domain.Actor, secret: str) -> Sequence[str]:
    recovery_codes = codes.new_recovery_codes()
    hashes = [codes.recovery_hash(secret, code) for code in recovery_codes]
    await factor_storage.replace_recovery_codes(tx.conn, actor.user_id, hashes)
    return recovery_codes
