"""The handler of `auth.refresh`: access is renewed before it ends, and what the connection shows is read again once a day.

It works beside the state, guarded by the secrets' revision.

Tokens are replaced only where those lie that they were got for, in a connection that is still connected. So of two attempts
that overlap the first to answer counts; a refusal counts only if what was refused is still what is kept; and a disconnect wins.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import worker
from services.auth.connections import convert, domain, secrets, storage, tasks
from services.auth.connections.domain import Action, Connection, ErrorCode, State, Tokens
from services.auth.connections.providers.outbound import Failed, Refused, Unavailable
from services.auth.connections.providers.provider import NotRenewable, Provider
from services.auth.connections.tasks import Dependencies
from services.auth.encryption.keyring import DecryptionFailed

logger = logging.getLogger(__name__)


async def refresh(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Renew access, and read what the connection shows, each if it is still wanted and due; the result says what was done."""
    platform, generation = convert.of_payload(context.payload)
    user_id = UUID(str(context.payload["user_id"]))
    provider = dependencies.providers.get(platform)
    if provider is None:
        raise worker.Discard("the platform is not offered any more")
    async with dependencies.engine.begin() as conn:
        connection = await storage.get(conn, user_id, platform)
        now = await storage.now(conn)
        is_due = connection.refresh_at is not None and connection.refresh_at <= now
        is_old = connection.synced_at is not None and connection.synced_at <= now - domain.SYNC_AFTER
        if (connection.state, connection.generation) != (State.CONNECTED, generation) or not (is_due or is_old):
            return {"refreshed": False}
        try:
            kept = await dependencies.vault.get(conn, connection)
        except DecryptionFailed:
            logger.exception("secrets cannot be opened", extra={"platform": platform, "user_id": user_id})
            raise tasks.failed(domain.error(ErrorCode.INTERNAL)) from None
    if kept is None or kept.tokens is None or kept.issued_at is None:
        raise tasks.failed(domain.error(ErrorCode.INTERNAL))
    tokens, done = kept.tokens, {"refreshed": False}
    if is_due:
        try:
            tokens = await provider.refresh(kept.tokens, kept.issued_at, now)
        except Unavailable as error:
            raise tasks.later(error, platform) from None
        except Failed as error:
            raise await _refused(dependencies, connection, kept, error) from None
        done["refreshed"] = await _keep(dependencies, connection, kept, provider, tokens)
    if is_old and (done["refreshed"] or not is_due):
        done["synced"] = await _sync(dependencies, connection, provider, tokens)
    return done


async def _keep(
    dependencies: Dependencies, connection: Connection, kept: secrets.Kept, provider: Provider, tokens: Tokens
) -> bool:
    """Keep renewed tokens before anybody uses them; give them back if the connection has moved on."""
    generation = connection.generation

    async def store() -> tuple[Connection, bool]:
        async with dependencies.engine.begin() as conn:
            present = await storage.get(conn, connection.user_id, connection.platform, lock=True)
            if (present.state, present.generation) != (State.CONNECTED, generation):
                return present, False
            issued_at = await dependencies.vault.keep_tokens(
                conn, present, tokens, of_generation=kept.generation, of_revision=kept.revision
            )
            if issued_at is None:
                return present, False
            renewed = await storage.move(
                conn,
                present,
                Action.REFRESH,
                access_expires_at=issued_at + tokens.lifetime if tokens.lifetime is not None else None,
                refresh_at=domain.refresh_time(tokens, issued_at, is_renewable=provider.is_renewable(tokens)),
            )
            if renewed is None:
                raise worker.Cancelled("superseded")
            messages = await dependencies.announced.announce(conn, renewed, Action.REFRESH)
        dependencies.relay.send(messages)
        return renewed, True

    present, is_kept = await tasks.persistently(store)
    # One that another attempt was faster with belongs to the same grant, and is only forgotten.
    if not is_kept and (present.state, present.generation) != (State.CONNECTED, generation):
        await tasks.drop(dependencies, present, generation, tokens)
    return is_kept


async def _sync(dependencies: Dependencies, connection: Connection, provider: Provider, tokens: Tokens) -> bool:
    """Show what the platform says of the account now; what it does not say at the moment is asked for again in an hour."""
    try:
        account, items = await provider.account(tokens), await provider.items(tokens)
    except Failed as error:
        # Not a reason to end the connection: whether access has ended is for the renewal to find out.
        said = {"platform": connection.platform, "user_id": connection.user_id, "cause": str(error)}
        logger.warning("a connection was not read again", extra=said)
        return False
    async with dependencies.engine.begin() as conn:
        present = await storage.get(conn, connection.user_id, connection.platform, lock=True)
        known = present.account.external_id if present.account else ""
        if (present.generation, known) != (connection.generation, account.external_id):
            return False
        if (synced := await storage.sync(conn, present, account, items)) is None:
            return False
        messages = await dependencies.announced.announce(conn, synced, Action.SYNC)
    dependencies.relay.send(messages)
    return True


async def _refused(
    dependencies: Dependencies, connection: Connection, kept: secrets.Kept, error: Failed
) -> worker.JobFailed:
    """End the connection if the platform has; gives what is to be raised."""
    said = {"platform": connection.platform, "user_id": connection.user_id, "cause": str(error)}
    logger.warning("access was not renewed", extra=said)
    is_final = isinstance(error, NotRenewable) or (isinstance(error, Refused) and error.code == "invalid_grant")
    if not is_final:
        # It is us whom the platform does not understand, or the other way round: no reason to trouble the user.
        code = ErrorCode.PLATFORM_REFUSED
        return worker.JobFailed(code.value, domain.error(code).message, retryable=True)
    ended = domain.error(ErrorCode.REAUTHORIZATION_REQUIRED)
    async with dependencies.engine.begin() as conn:
        present = await storage.get(conn, connection.user_id, connection.platform, lock=True)
        if (present.state, present.generation) != (State.CONNECTED, connection.generation):
            raise worker.Cancelled("superseded")
        now_kept = await dependencies.vault.get(conn, present)
        if now_kept is None or now_kept.revision != kept.revision:
            raise worker.Cancelled("superseded")
        moved = await storage.fail(conn, present, Action.FAIL_REFRESH, ended)
        if moved is None:
            raise worker.Cancelled("superseded")
        messages = await dependencies.announced.announce(conn, moved, Action.FAIL_REFRESH)
    dependencies.relay.send(messages)
    return tasks.failed(ended)
