"""The handler of `auth.connect`: a code becomes tokens, once; then account, first items, connected."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import exc

import worker
from chassis import postgres
from services.auth.connections import domain, operations, secrets, storage, tasks
from services.auth.connections.domain import Account, Action, ErrorCode, Item, JobKind, State, Tokens
from services.auth.connections.providers.outbound import Failed, Lost, Refused, Unavailable
from services.auth.connections.providers.provider import PermissionsMissing, Provider, Transaction
from services.auth.connections.tasks import Attempt, Dependencies

logger = logging.getLogger(__name__)

LAST_TRY = 5
"""The attempt that gives up itself what does not answer, so that the user is told why."""


async def connect(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Get the access that the user consented to, and whose it is."""
    attempt = await tasks.begin(dependencies, context, JobKind.CONNECT)
    if attempt.is_done:
        return {"items": attempt.connection.item_count}
    provider = dependencies.providers.get(attempt.fence.platform)
    if provider is None or attempt.kept is None:
        raise await _fail(dependencies, attempt, ErrorCode.INTERNAL)
    tokens = attempt.kept.tokens
    await _stop_if_cancelled(dependencies, context, attempt)
    if tokens is None:
        await context.progress(0, 3, "Getting access")
        tokens = await _exchange(dependencies, attempt, attempt.kept, provider)
    try:
        await context.progress(1, 3, "Reading the account")
        account = await provider.account(tokens)
        await context.progress(2, 3, "Reading what it published")
        items = await provider.items(tokens)
    except Unavailable as error:
        if context.attempt < LAST_TRY:
            raise tasks.later(error, attempt.fence.platform) from None
        raise await _fail(dependencies, attempt, ErrorCode.PLATFORM_UNAVAILABLE) from None
    except Failed as error:
        _log(attempt, error)
        raise await _fail(dependencies, attempt, _code(error)) from None
    await _stop_if_cancelled(dependencies, context, attempt)
    await _complete(dependencies, attempt, provider, tokens, account, items)
    return {"items": len(items)}


async def _exchange(dependencies: Dependencies, attempt: Attempt, kept: secrets.Kept, provider: Provider) -> Tokens:
    """Give tokens for the code, and keep them. A code whose answer is not known is never sent again."""
    if kept.consent is None or kept.code_sent_at is not None:
        raise await _fail(dependencies, attempt, ErrorCode.CONSENT_EXPIRED)
    async with tasks.fenced(dependencies, attempt.fence, State.CONNECTING) as (conn, held):
        await secrets.mark_code_sent(conn, held, is_sent=True)
    transaction = Transaction(
        redirect_uri=operations.redirect_uri(dependencies.public_url, attempt.fence.platform),
        state="",
        verifier=kept.consent.verifier,
        nonce=kept.consent.nonce,
    )
    try:
        tokens = await provider.exchange(kept.consent.code, transaction)
    except Failed as error:
        if isinstance(error, Unavailable) and not isinstance(error, Lost) and error.got is None:
            async with tasks.fenced(dependencies, attempt.fence, State.CONNECTING) as (conn, held):
                await secrets.mark_code_sent(conn, held, is_sent=False)
            raise tasks.later(error, attempt.fence.platform) from None
        _log(attempt, error)
        code = ErrorCode.CONSENT_EXPIRED if isinstance(error, Unavailable) else _code(error)
        raise await _fail(dependencies, attempt, code, error.got) from None
    await _keep(dependencies, attempt, kept, tokens)
    return tokens


async def _keep(dependencies: Dependencies, attempt: Attempt, kept: secrets.Kept, tokens: Tokens) -> None:
    """Keep tokens that were just got; give them back if they came too late. Raises `worker.Cancelled`."""

    async def store() -> domain.Connection | None:
        """Give how the connection stands, if the tokens are not wanted."""
        fence = attempt.fence
        async with dependencies.engine.begin() as conn:
            held = await storage.hold(conn, fence, State.CONNECTING)
            if held and await dependencies.vault.keep_tokens(
                conn, held, tokens, of_generation=fence.generation, of_revision=kept.revision
            ):
                return None
            return await storage.get(conn, fence.user_id, fence.platform)

    try:
        present = await tasks.persistently(store)
    except Exception:
        await tasks.give_back(dependencies, attempt.fence.platform, tokens)
        raise
    if present:
        await tasks.drop(dependencies, present, attempt.fence.generation, tokens)
        raise worker.Cancelled("superseded")


async def _complete(
    dependencies: Dependencies,
    attempt: Attempt,
    provider: Provider,
    tokens: Tokens,
    account: Account,
    items: list[Item],
) -> None:
    try:
        async with tasks.fenced(dependencies, attempt.fence, State.CONNECTING) as (conn, held):
            issued_at = await secrets.issued_at(conn, held)
            connected = await storage.complete(
                conn,
                held,
                account,
                items,
                access_expires_at=issued_at + tokens.lifetime if tokens.lifetime is not None else None,
                refresh_at=domain.refresh_time(tokens, issued_at, is_renewable=provider.is_renewable(tokens)),
            )
            messages = await dependencies.announced.announce(conn, connected, Action.COMPLETE_CONNECT)
    except exc.IntegrityError as error:
        if postgres.violated_constraint(error) != "connections_account_key":
            raise
        # The tokens are only forgotten: revoking them would end the access of the user who has the account connected.
        raise await _fail(dependencies, attempt, ErrorCode.ACCOUNT_ALREADY_CONNECTED) from None
    except worker.Cancelled:
        await _give_back_late(dependencies, attempt, tokens)
        raise
    dependencies.relay.send(messages)


async def _stop_if_cancelled(dependencies: Dependencies, context: worker.Context, attempt: Attempt) -> None:
    if not context.is_cancelled:
        return
    await tasks.end(dependencies, attempt.fence, State.CONNECTING, Action.CANCEL_CONNECT)
    raise worker.Cancelled("requested")


async def _fail(
    dependencies: Dependencies, attempt: Attempt, code: ErrorCode, tokens: Tokens | None = None
) -> worker.JobFailed:
    """Fail the connection; gives what is to be raised. Raises `worker.Cancelled` if it has moved on.

    Tokens that are kept are set aside with it, to be given back; `tokens`, which were not, are given back here.
    """
    error = domain.error(code)
    try:
        await tasks.end(dependencies, attempt.fence, State.CONNECTING, Action.FAIL_CONNECT, error)
    except worker.Cancelled:
        if tokens:
            await _give_back_late(dependencies, attempt, tokens)
        raise
    if tokens:
        await tasks.give_back(dependencies, attempt.fence.platform, tokens)
    return tasks.failed(error)


async def _give_back_late(dependencies: Dependencies, attempt: Attempt, tokens: Tokens) -> None:
    """Give back what is not wanted any more; unless a later attempt of the same job, or a disconnect, has it in hand."""
    fence = attempt.fence
    async with dependencies.engine.begin() as conn:
        present = await storage.get(conn, fence.user_id, fence.platform)
    if present.generation > fence.generation and present.state is not State.DISCONNECTING:
        await tasks.drop(dependencies, present, fence.generation, tokens)


def _code(error: Failed) -> ErrorCode:
    if isinstance(error, PermissionsMissing):
        return ErrorCode.PERMISSIONS_MISSING
    if isinstance(error, Refused):
        codes = {"invalid_grant": ErrorCode.CONSENT_EXPIRED, "insufficient_scope": ErrorCode.PERMISSIONS_MISSING}
        return codes.get(error.code, ErrorCode.PLATFORM_REFUSED)
    return ErrorCode.PLATFORM_REFUSED


def _log(attempt: Attempt, error: Failed) -> None:
    said = {"platform": attempt.fence.platform, "job_id": attempt.fence.job_id, "cause": str(error)}
    logger.warning("a platform could not be connected", extra=said)
