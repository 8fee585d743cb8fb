"""The handler of `auth.refresh`: renews access before it ends, and reads the account again once a day.

The connection stays `connected` meanwhile. Renewed tokens replace the stored ones only if the connection is still connected
and the revision of its secrets has not changed. So the first of two overlapping attempts wins, a refusal counts only if the
refused tokens are still stored, and a disconnect wins over both.
"""

from __future__ import annotations

import logging
from typing import Any

import worker
from lifecycle.rows import now as database_now
from services.auth.connections import domain, jobs, secrets, storage
from services.auth.connections.domain import Action, Connection, ErrorCode, State, Tokens
from services.auth.connections.handlers.dependencies import (
    Dependencies,
    discard,
    failed,
    retry_later,
    retry_storage,
)
from services.auth.connections.providers.outbound import PlatformError, PlatformRefused, PlatformUnavailable
from services.auth.connections.providers.provider import NotRenewable, Provider
from services.auth.encryption.keyring import DecryptionFailed

logger = logging.getLogger(__name__)


async def refresh(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Renew access, and read the account again, each if it is due; return which of them was done."""
    user_id, platform, generation = jobs.of_system_payload(context.payload)
    provider = dependencies.providers.get(platform)
    if provider is None:
        raise worker.Discard("the platform is no longer offered")
    async with dependencies.engine.begin() as conn:
        connection = await storage.get(conn, user_id, platform)
        now = await database_now(conn)
        is_due = connection.refresh_at is not None and connection.refresh_at <= now
        is_old = connection.synced_at is not None and connection.synced_at <= now - domain.SYNC_AFTER
        if (connection.state, connection.generation) != (State.CONNECTED, generation) or not (is_due or is_old):
            return {"refreshed": False}
        try:
            stored = await dependencies.vault.get(conn, connection)
        except DecryptionFailed:
            logger.exception("secrets cannot be decrypted", extra={"platform": platform, "user_id": user_id})
            raise failed(ErrorCode.INTERNAL) from None
    if stored is None or stored.tokens is None or stored.issued_at is None:
        raise failed(ErrorCode.INTERNAL)
    tokens, done = stored.tokens, {"refreshed": False}
    if is_due:
        try:
            tokens = await provider.refresh(stored.tokens, stored.issued_at, now)
        except PlatformUnavailable as error:
            raise retry_later(error, platform) from None
        except PlatformError as error:
            raise await _end_refused_connection(dependencies, connection, stored, error) from None
        done["refreshed"] = await _store(dependencies, connection, stored, provider, tokens)
    if is_old and (done["refreshed"] or not is_due):
        done["synced"] = await _sync(dependencies, connection, stored, provider, tokens)
    return done


async def _store(
    dependencies: Dependencies, connection: Connection, stored: secrets.Stored, provider: Provider, tokens: Tokens
) -> bool:
    """Store renewed tokens before they are used; revoke them if the connection has moved on."""
    generation = connection.generation

    async def store() -> tuple[Connection, bool]:
        async with dependencies.transaction() as tx:
            current = await storage.get(tx.conn, connection.user_id, connection.platform, lock=True)
            if (current.state, current.generation) != (State.CONNECTED, generation):
                return current, False
            issued_at = await dependencies.vault.store_tokens(
                tx.conn, current, tokens, of_generation=stored.generation, of_revision=stored.revision
            )
            if issued_at is None:
                return current, False
            columns = {
                "access_expires_at": issued_at + tokens.lifetime if tokens.lifetime is not None else None,
                "refresh_at": domain.refresh_time(tokens, issued_at, is_renewable=provider.is_renewable(tokens)),
            }
            return await dependencies.lifecycle.move_locked(tx, current, Action.REFRESH, columns=columns), True

    current, is_stored = await retry_storage(store)
    # Tokens of an attempt that was slower than another belong to the same grant, and are only dropped.
    if not is_stored and (current.state, current.generation) != (State.CONNECTED, generation):
        await discard(dependencies, current, generation, tokens)
    return is_stored


async def _sync(
    dependencies: Dependencies, connection: Connection, stored: secrets.Stored, provider: Provider, tokens: Tokens
) -> bool:
    """Read account and items again. A platform that does not answer now is asked again in an hour."""
    try:
        account, items = await provider.account(tokens), await provider.items(tokens)
    except PlatformError as error:
        is_ended = isinstance(error, PlatformRefused) and error.is_unauthorized
        if is_ended and not provider.is_renewable(tokens):
            ended = NotRenewable("the platform has ended the access")
            raise await _end_refused_connection(dependencies, connection, stored, ended) from None
        # Not a reason to end the connection: the next renewal finds out whether access has ended.
        extra = {"platform": connection.platform, "user_id": connection.user_id, "cause": str(error)}
        logger.warning("a connection was not read again", extra=extra)
        return False
    async with dependencies.transaction() as tx:
        current = await storage.get(tx.conn, connection.user_id, connection.platform, lock=True)
        external_id = current.account.external_id if current.account else ""
        if (current.generation, external_id) != (connection.generation, account.external_id):
            return False
        columns = storage.account_columns(account, items)
        synced = await dependencies.lifecycle.move(
            tx, current.key, Action.SYNC, of_generation=current.generation, columns=columns
        )
        if synced is None:
            return False
        await storage.replace_items(tx.conn, synced, items)
    return True


async def _end_refused_connection(
    dependencies: Dependencies, connection: Connection, stored: secrets.Stored, error: PlatformError
) -> worker.JobFailed:
    """End the connection if the platform has ended the access; return the exception to raise."""
    extra = {"platform": connection.platform, "user_id": connection.user_id, "cause": str(error)}
    logger.warning("access was not renewed", extra=extra)
    is_final = isinstance(error, NotRenewable) or (isinstance(error, PlatformRefused) and error.code == "invalid_grant")
    if not is_final:
        # A mistake on our side or in the platform's protocol: no reason to make the user connect again.
        code = ErrorCode.PLATFORM_REFUSED
        return worker.JobFailed(code.value, domain.error(code).message, retryable=True)
    async with dependencies.transaction() as tx:
        current = await storage.get(tx.conn, connection.user_id, connection.platform, lock=True)
        if (current.state, current.generation) != (State.CONNECTED, connection.generation):
            raise worker.Cancelled("superseded")
        current_secrets = await dependencies.vault.get(tx.conn, current)
        if current_secrets is None or current_secrets.revision != stored.revision:
            raise worker.Cancelled("superseded")
        required = domain.error(ErrorCode.REAUTHORIZATION_REQUIRED)
        await dependencies.lifecycle.move_locked(tx, current, Action.FAIL_REFRESH, error=required)
    return failed(ErrorCode.REAUTHORIZATION_REQUIRED)
