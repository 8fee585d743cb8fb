"""The handler of `auth.disconnect`: access is given back at the platform; what is kept here goes in any case."""

from __future__ import annotations

from typing import Any

import worker
from services.auth.connections import tasks
from services.auth.connections.domain import Action, JobKind, State, Tokens
from services.auth.connections.providers.outbound import Failed, Unavailable
from services.auth.connections.tasks import Dependencies, logger

LAST_TRY = 4
"""The attempt that no longer waits for a platform that does not answer."""


async def disconnect(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Give access back, and delete everything; the result says whether the platform has confirmed."""
    attempt = await tasks.begin(dependencies, context, JobKind.DISCONNECT)
    if attempt.is_done:
        return {}
    is_revoked = False
    if attempt.kept and attempt.kept.tokens:
        is_revoked = await _revoke(dependencies, context, attempt.fence.platform, attempt.kept.tokens)
    await tasks.end(dependencies, attempt.fence, State.DISCONNECTING, Action.COMPLETE_DISCONNECT)
    return {"revoked": is_revoked}


async def _revoke(dependencies: Dependencies, context: worker.Context, platform: str, tokens: Tokens) -> bool:
    if (provider := dependencies.providers.get(platform)) is None:
        return False
    try:
        return await provider.revoke(tokens)
    except Unavailable as error:
        if context.attempt < LAST_TRY and not context.is_cancelled:
            raise tasks.later(error, platform) from None
        cause: Failed = error
    except Failed as error:
        cause = error
    logger.warning("access was not given back at the platform", extra={"platform": platform, "cause": str(cause)})
    return False
