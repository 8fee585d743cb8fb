"""Shared by the handlers of connection jobs: dependencies, reading secrets, revoking tokens, retries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import outbox, postgres
from lifecycle import attempts
from lifecycle.declaration import Lifecycle
from services.auth import schema
from services.auth.connections import domain, effects, jobs, secrets
from services.auth.connections.domain import Action, Connection, Tokens
from services.auth.connections.providers.outbound import PlatformError, PlatformUnavailable
from services.auth.connections.providers.provider import Provider
from services.auth.encryption.keyring import DecryptionFailed, KeyMissing
from worker import outbox as worker_outbox

logger = logging.getLogger(__name__)

T = TypeVar("T")
FencedAttempt = attempts.FencedAttempt[Connection, Action]
Transaction = attempts.FencedTransaction[Connection, Action]

STORE_TRIES = 9
STORE_PAUSE = 1.0
KEY_ATTEMPTS = 10
KEY_PAUSE = timedelta(seconds=15)
"""How often, and after which pause, a job is retried whose process lacks the encryption key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    engine: AsyncEngine
    lifecycle: Lifecycle[Connection, Action]
    effects: effects.Effects
    providers: Mapping[str, Provider]
    vault: secrets.Vault
    relay: outbox.Relay
    public_url: str
    offered: frozenset[str] = frozenset()
    """The platforms that users may connect. `providers` also has those at which access can still be revoked."""

    def attempt(self, context: worker.Context) -> FencedAttempt:
        """Return the attempt of a job that moves a connection."""
        return FencedAttempt(self.lifecycle, self.engine, self.relay, context)

    def transaction(self) -> AbstractAsyncContextManager[outbox.Transaction]:
        """Open a transaction that publishes."""
        return outbox.transaction(self.engine, schema.outbox, self.relay)


async def read_secrets(dependencies: Dependencies, tx: Transaction, context: worker.Context) -> secrets.Stored | None:
    """Decrypt the secrets of a connection; None if there are none, or they cannot be decrypted.

    Raises `Snooze` for a while if this process lacks the key: during a rolling restart other replicas have a newer one.
    """
    try:
        return await dependencies.vault.get(tx.conn, tx.resource)
    except KeyMissing:
        if context.attempt < KEY_ATTEMPTS:
            raise worker.Snooze(KEY_PAUSE) from None
        extra = {"platform": tx.resource.platform, "user_id": tx.resource.user_id}
        logger.exception("the key of stored secrets is missing", extra=extra)
        return None
    except DecryptionFailed:
        extra = {"platform": tx.resource.platform, "user_id": tx.resource.user_id}
        logger.exception("secrets cannot be decrypted", extra=extra)
        return None


async def revoke(dependencies: Dependencies, platform: str, tokens: Tokens) -> bool:
    """Return whether the platform has revoked the tokens; False also for a platform that is not configured.

    Raises `PlatformUnavailable`.
    """
    if (provider := dependencies.providers.get(platform)) is None:
        return False
    try:
        return await provider.revoke(tokens)
    except PlatformUnavailable:
        raise
    except PlatformError as error:
        _log_refusal(platform, error)
        return False


async def revoke_once(dependencies: Dependencies, platform: str, tokens: Tokens) -> bool:
    """Revoke tokens that are not stored; return False if the platform does not answer now. Never raises."""
    try:
        await revoke(dependencies, platform, tokens)
    except PlatformUnavailable as error:
        _log_refusal(platform, error)
        return False
    return True


def _log_refusal(platform: str, error: PlatformError) -> None:
    logger.warning("tokens could not be revoked", extra={"platform": platform, "cause": str(error)})


async def discard(dependencies: Dependencies, current: Connection, generation: int, tokens: Tokens) -> None:
    """Revoke tokens of a generation that are not stored and not needed.

    They are set aside for a job if the platform does not answer, or if the user has connected again since: then revoking
    them may end the newer access.
    """
    if domain.shares_grant(current, generation) or not await revoke_once(dependencies, current.platform, tokens):
        await retry_storage(lambda: _set_aside(dependencies, replace(current, generation=generation), tokens))


async def _set_aside(dependencies: Dependencies, ended: Connection, tokens: Tokens) -> None:
    async with dependencies.transaction() as tx:
        if await dependencies.vault.set_aside(tx.conn, ended, tokens):
            tx.publish(worker_outbox.submit_message(jobs.revoke_tokens(ended)))


async def retry_storage(store: Callable[[], Awaitable[T]]) -> T:
    """Store a result that cannot be obtained again, with retries over a short outage of the database. Raises the last error."""
    for _ in range(STORE_TRIES - 1):
        try:
            return await store()
        except Exception as error:
            if postgres.translate(error) is None:
                raise
            logger.warning("a step of a connection waits for the database")
        await asyncio.sleep(STORE_PAUSE)
    return await store()


def retry_later(error: PlatformUnavailable, platform: str) -> Exception:
    """Return the exception with which a handler is retried when the platform may answer again."""
    if error.retry_after is not None:
        return worker.Snooze(error.retry_after)
    code = domain.ErrorCode.PLATFORM_UNAVAILABLE
    logger.info("a platform does not answer", extra={"platform": platform, "cause": str(error)})
    return worker.JobFailed(code.value, domain.error(code).message, retryable=True)


def failed(code: domain.ErrorCode) -> worker.JobFailed:
    """Return the exception that fails a job without a retry."""
    return worker.JobFailed(code.value, domain.error(code).message, retryable=False)
