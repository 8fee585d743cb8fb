"""The handler of `auth.disconnect`: revokes the access at the platform, and deletes the secrets.

If the platform gives no answer, the tokens are set aside for `auth.revoke-tokens`.
"""

from __future__ import annotations

from typing import Any

import worker
from services.auth.connections.domain import Action
from services.auth.connections.handlers.dependencies import Dependencies, read_secrets, retry_later, revoke
from services.auth.connections.providers.outbound import PlatformUnavailable

LAST_ATTEMPT = 4
"""The attempt that no longer waits for a platform that does not answer."""


async def disconnect(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Revoke the access and end the connection; return whether the platform has revoked it."""
    attempt = dependencies.attempt(context)
    async with attempt.begin() as tx:
        if tx.is_done:
            return {}
        platform, stored = tx.resource.platform, await read_secrets(dependencies, tx, context)
    is_revoked, action = False, Action.COMPLETE_DISCONNECT
    if stored and stored.tokens:
        try:
            is_revoked = await revoke(dependencies, platform, stored.tokens)
        except PlatformUnavailable as error:
            if context.attempt < LAST_ATTEMPT and not context.is_cancelled:
                raise retry_later(error, platform) from None
            # The user need not wait: the tokens are set aside, and a job revokes them once the platform answers.
            action = Action.FORCE_DISCONNECT
    async with attempt.fenced() as tx:
        await tx.move(action)
    return {"revoked": is_revoked}
