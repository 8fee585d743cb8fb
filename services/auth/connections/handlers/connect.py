"""The handler of `auth.connect`: exchanges a code for tokens, once; then reads account and items, and is connected."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sqlalchemy import exc

import worker
from chassis import postgres
from services.auth.connections import domain, operations, secrets, storage
from services.auth.connections.domain import Account, Action, Connection, ErrorCode, Item, State, Tokens
from services.auth.connections.handlers.dependencies import (
    Dependencies,
    FencedAttempt,
    discard,
    failed,
    read_secrets,
    retry_later,
    retry_storage,
    revoke_once,
)
from services.auth.connections.providers.outbound import (
    PlatformError,
    PlatformRefused,
    PlatformUnavailable,
    ResponseLost,
)
from services.auth.connections.providers.provider import PermissionsMissing, Provider, Transaction

logger = logging.getLogger(__name__)

LAST_ATTEMPT = 5
"""The attempt that fails the connection if the platform does not answer, so that the user sees why."""


async def connect(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Get the access that the user consented to, and read its account."""
    attempt = dependencies.attempt(context)
    async with attempt.begin() as tx:
        connection = tx.resource
        if tx.is_done:
            return {"items": connection.item_count}
        stored = await read_secrets(dependencies, tx, context)
    provider = dependencies.providers.get(connection.platform)
    if provider is None or stored is None:
        raise await _fail(dependencies, attempt, connection, ErrorCode.INTERNAL)
    tokens = stored.tokens
    await _stop_if_cancelled(context, attempt)
    if tokens is None:
        await context.progress(0, 3, "Getting access")
        tokens = await _exchange(dependencies, attempt, connection, stored, provider)
    try:
        await context.progress(1, 3, "Reading the account")
        account = await provider.account(tokens)
        await context.progress(2, 3, "Reading what it published")
        items = await provider.items(tokens)
    except PlatformUnavailable as error:
        if context.attempt < LAST_ATTEMPT:
            raise retry_later(error, connection.platform) from None
        raise await _fail(dependencies, attempt, connection, ErrorCode.PLATFORM_UNAVAILABLE) from None
    except PlatformError as error:
        _log(attempt, connection, error)
        raise await _fail(dependencies, attempt, connection, _code(error)) from None
    await _stop_if_cancelled(context, attempt)
    await _complete(dependencies, attempt, connection, provider, tokens, account, items)
    return {"items": len(items)}


async def _exchange(
    dependencies: Dependencies,
    attempt: FencedAttempt,
    connection: Connection,
    stored: secrets.Stored,
    provider: Provider,
) -> Tokens:
    """Exchange the code for tokens, and store them. A code whose answer is not known is never sent again."""
    if stored.grant is None or stored.code_sent_at is not None:
        raise await _fail(dependencies, attempt, connection, ErrorCode.CONSENT_EXPIRED)
    # Repeated until the commit is confirmed: after a lost reply the next call would assume that the code was sent.
    await retry_storage(lambda: _mark_code_sent(attempt, is_sent=True))
    transaction = Transaction(
        redirect_uri=operations.redirect_uri(dependencies.public_url, connection.platform),
        state="",
        verifier=stored.grant.verifier,
        nonce=stored.grant.nonce,
    )
    try:
        tokens = await provider.exchange(stored.grant.code, transaction)
    except PlatformError as error:
        if isinstance(error, PlatformUnavailable) and not isinstance(error, ResponseLost) and error.tokens is None:
            await retry_storage(lambda: _mark_code_sent(attempt, is_sent=False))
            raise retry_later(error, connection.platform) from None
        _log(attempt, connection, error)
        code = ErrorCode.CONSENT_EXPIRED if isinstance(error, PlatformUnavailable) else _code(error)
        raise await _fail(dependencies, attempt, connection, code, error.tokens) from None
    await _store(dependencies, attempt, stored, tokens)
    return tokens


async def _mark_code_sent(attempt: FencedAttempt, *, is_sent: bool) -> None:
    async with attempt.fenced() as tx:
        await secrets.mark_code_sent(tx.conn, tx.resource, is_sent=is_sent)


async def _store(dependencies: Dependencies, attempt: FencedAttempt, stored: secrets.Stored, tokens: Tokens) -> None:
    """Store new tokens; revoke them if they came too late. Raises `worker.Cancelled`."""
    fence = attempt.fence
    user_id, platform = fence.key

    async def store() -> Connection | None:
        """Return the connection if it does not take the tokens."""
        async with dependencies.engine.begin() as conn:
            connection = await storage.CONNECTIONS.lock_for_write(conn, fence, State.CONNECTING)
            if connection and await dependencies.vault.store_tokens(
                conn, connection, tokens, of_generation=fence.generation, of_revision=stored.revision
            ):
                return None
            return await storage.get(conn, user_id, platform)

    try:
        current = await retry_storage(store)
    except (Exception, asyncio.CancelledError):
        # Also when the lease is lost, with the database or the jobs service: the next attempt gets no tokens for the code.
        await revoke_once(dependencies, platform, tokens)
        raise
    if current:
        await discard(dependencies, current, fence.generation, tokens)
        raise worker.Cancelled("superseded")


async def _complete(
    dependencies: Dependencies,
    attempt: FencedAttempt,
    connection: Connection,
    provider: Provider,
    tokens: Tokens,
    account: Account,
    items: list[Item],
) -> None:
    try:
        async with attempt.fenced() as tx:
            issued_at = await secrets.issued_at(tx.conn, tx.resource)
            columns = {
                "external_id": account.external_id,
                **storage.account_columns(account, items),
                "access_expires_at": issued_at + tokens.lifetime if tokens.lifetime is not None else None,
                "refresh_at": domain.refresh_time(tokens, issued_at, is_renewable=provider.is_renewable(tokens)),
            }
            connected = await tx.move(Action.COMPLETE_CONNECT, columns)
            await storage.replace_items(tx.conn, connected, items)
    except exc.IntegrityError as error:
        if postgres.violated_constraint(error) != "connections_account_key":
            raise
        # The tokens are only deleted: revoking them would end the access of the user who has the account connected.
        raise await _fail(dependencies, attempt, connection, ErrorCode.ACCOUNT_ALREADY_CONNECTED) from None
    except worker.Cancelled:
        await _revoke_late(dependencies, attempt, tokens)
        raise


async def _stop_if_cancelled(context: worker.Context, attempt: FencedAttempt) -> None:
    if not context.is_cancelled:
        return
    async with attempt.fenced() as tx:
        await tx.move(Action.CANCEL_CONNECT)
    raise worker.Cancelled("requested")


async def _fail(
    dependencies: Dependencies,
    attempt: FencedAttempt,
    connection: Connection,
    code: ErrorCode,
    tokens: Tokens | None = None,
) -> worker.JobFailed:
    """Fail the connection; return the exception to raise. Raises `worker.Cancelled` if it has moved on.

    Stored tokens are set aside with it, to be revoked; `tokens`, which were not stored, are revoked here.
    """
    try:
        async with attempt.fenced() as tx:
            await tx.move(Action.FAIL_CONNECT, error=domain.error(code))
    except worker.Cancelled:
        if tokens:
            await _revoke_late(dependencies, attempt, tokens)
        raise
    if tokens:
        await discard(dependencies, connection, attempt.fence.generation, tokens)
    return failed(code)


async def _revoke_late(dependencies: Dependencies, attempt: FencedAttempt, tokens: Tokens) -> None:
    """Revoke tokens that are not needed any more, unless a later attempt of the job, or a disconnect, handles them."""
    fence = attempt.fence
    async with dependencies.engine.begin() as conn:
        current = await storage.CONNECTIONS.get(conn, fence.key)
    if current.generation > fence.generation and current.state is not State.DISCONNECTING:
        await discard(dependencies, current, fence.generation, tokens)


def _code(error: PlatformError) -> ErrorCode:
    if isinstance(error, PermissionsMissing):
        return ErrorCode.PERMISSIONS_MISSING
    if isinstance(error, PlatformRefused):
        codes = {"invalid_grant": ErrorCode.CONSENT_EXPIRED, "insufficient_scope": ErrorCode.PERMISSIONS_MISSING}
        return codes.get(error.code, ErrorCode.PLATFORM_REFUSED)
    return ErrorCode.PLATFORM_REFUSED


def _log(attempt: FencedAttempt, connection: Connection, error: PlatformError) -> None:
    extra = {"platform": connection.platform, "job_id": attempt.fence.job_id, "cause": str(error)}
    logger.warning("a platform could not be connected", extra=extra)
