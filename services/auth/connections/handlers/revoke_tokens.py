"""The handler of `auth.revoke-tokens`: tokens that were set aside are revoked at their platform, and deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import worker
from services.auth.connections import domain, jobs, pending_revocations, storage
from services.auth.connections.domain import Connection, State, Tokens
from services.auth.connections.handlers.dependencies import Dependencies, logger, retry_later, revoke
from services.auth.connections.providers.outbound import PlatformError, PlatformUnavailable
from services.auth.encryption.keyring import DecryptionFailed, KeyMissing

WAIT = timedelta(minutes=1)
"""The pause while the user connects again: until that ends it is not known whether revoking would end the new access."""


async def revoke_tokens(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Revoke and delete the tokens set aside of a generation; the result has whether the platform confirmed."""
    user_id, platform, generation = jobs.of_system_payload(context.payload)
    async with dependencies.engine.begin() as conn:
        present = await storage.get(conn, user_id, platform)
        try:
            tokens = await dependencies.vault.get_pending_revocation(conn, user_id, platform, generation)
        except KeyMissing:
            # Another replica, or this one after its restart, has the key.
            raise worker.JobFailed(
                "encryption_key_missing", "The key of the tokens is missing.", retryable=True
            ) from None
        except DecryptionFailed:
            logger.exception("tokens cannot be decrypted", extra={"platform": platform, "user_id": user_id})
            message = "The tokens cannot be decrypted; they are deleted after a week."
            raise worker.JobFailed("tokens_unreadable", message, retryable=False) from None
    if tokens is None:
        return {"revoked": False}
    is_superseded = domain.shares_grant(present, generation)
    if is_superseded and present.state is State.CONNECTING:
        raise worker.Snooze(WAIT)
    if is_superseded and await _is_of_account(dependencies, present, tokens):
        # Revoking would end the access that the user has now.
        is_revoked = False
    else:
        is_revoked = await _revoke(dependencies, platform, tokens)
    async with dependencies.engine.begin() as conn:
        await pending_revocations.delete(conn, user_id, platform, generation)
    return {"revoked": is_revoked}


async def _revoke(dependencies: Dependencies, platform: str, tokens: Tokens) -> bool:
    if platform not in dependencies.providers:
        logger.warning("tokens are deleted: their platform is not configured", extra={"platform": platform})
    try:
        return await revoke(dependencies, platform, tokens)
    except PlatformUnavailable as error:
        raise retry_later(error, platform) from None


async def _is_of_account(dependencies: Dependencies, connection: Connection, tokens: Tokens) -> bool:
    """Return whether tokens are, or may be, of the account that is connected."""
    provider = dependencies.providers.get(connection.platform)
    if provider is None or connection.account is None:
        return True
    try:
        return (await provider.account(tokens)).external_id == connection.account.external_id
    except PlatformUnavailable as error:
        raise retry_later(error, connection.platform) from None
    except PlatformError:
        return True
