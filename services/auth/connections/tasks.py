"""What the handlers of connections' jobs have in common: the fence, giving tokens back, and keeping them whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import worker
from chassis import outbox, postgres
from services.auth.connections import announcements, convert, domain, secrets, storage
from services.auth.connections.domain import Action, Beginning, Connection, Fence, JobKind, State, Tokens
from services.auth.connections.providers.outbound import Failed, Unavailable
from services.auth.connections.providers.provider import Provider
from services.auth.encryption.keyring import DecryptionFailed

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORE_TRIES = 5
STORE_PAUSE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What handlers need beside their context."""

    engine: AsyncEngine
    providers: Mapping[str, Provider]
    vault: secrets.Vault
    announced: announcements.Announcements
    relay: outbox.Relay
    public_url: str
    offered: frozenset[str] = frozenset()
    """The platforms that users may connect; `providers` has in addition those that access can still be given back at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that has taken the fence, and what it found."""

    fence: Fence
    connection: Connection
    kept: secrets.Kept | None
    is_done: bool


def fence_of(context: worker.Context) -> Fence:
    """Give what the writes of this attempt must match."""
    platform, generation = convert.of_payload(context.payload)
    return Fence(
        user_id=UUID(context.owner_id),
        platform=platform,
        job_id=UUID(context.job_id),
        generation=generation,
        attempt=context.attempt,
    )


async def begin(dependencies: Dependencies, context: worker.Context, kind: JobKind) -> Attempt:
    """Take the fence for this attempt. Raises `worker.Cancelled` for one that may not work."""
    fence = fence_of(context)
    async with dependencies.engine.begin() as conn:
        connection = await storage.get(conn, fence.user_id, fence.platform, lock=True)
        beginning = domain.begin(connection, fence, kind)
        if beginning is Beginning.SUPERSEDED:
            raise worker.Cancelled("superseded")
        if beginning is Beginning.DONE:
            return Attempt(fence=fence, connection=connection, kept=None, is_done=True)
        await storage.begin_attempt(conn, fence)
        try:
            kept = await dependencies.vault.get(conn, connection)
        except DecryptionFailed:
            logger.exception("secrets cannot be opened", extra={"platform": fence.platform, "user_id": fence.user_id})
            kept = None
    return Attempt(fence=fence, connection=connection, kept=kept, is_done=False)


@asynccontextmanager
async def fenced(
    dependencies: Dependencies, fence: Fence, state: State
) -> AsyncIterator[tuple[AsyncConnection, Connection]]:
    """Open a transaction that only the attempt of the fence may have, in this state. Raises `worker.Cancelled`."""
    async with dependencies.engine.begin() as conn:
        if (held := await storage.hold(conn, fence, state)) is None:
            raise worker.Cancelled("superseded")
        yield conn, held


async def end(
    dependencies: Dependencies, fence: Fence, state: State, action: Action, error: domain.Error | None = None
) -> Connection:
    """Move the state on, as this attempt. Raises `worker.Cancelled` if it may not (any more)."""
    async with fenced(dependencies, fence, state) as (conn, held):
        if error:
            moved = await storage.fail(conn, held, action, error)
        else:
            moved = await storage.move(conn, held, action)
        if moved is None:
            raise worker.Cancelled("superseded")
        messages = await dependencies.announced.announce(conn, moved, action)
    dependencies.relay.send(messages)
    return moved


async def give_back(dependencies: Dependencies, platform: str, tokens: Tokens) -> bool:
    """Revoke tokens that nobody will use; says whether the platform has done so. Never fails: it is the last thing tried."""
    if (provider := dependencies.providers.get(platform)) is None:
        return False
    try:
        return await provider.revoke(tokens)
    except Failed as error:
        logger.warning("tokens could not be given back", extra={"platform": platform, "cause": str(error)})
        return False


async def drop(dependencies: Dependencies, present: Connection, generation: int, tokens: Tokens) -> None:
    """Give back what came too late for its generation; or only forget it, if that would end newer access."""
    if domain.shares_grant(present, generation):
        return
    await give_back(dependencies, present.platform, tokens)


async def persistently(store: Callable[[], Awaitable[T]]) -> T:
    """Keep what cannot be had again, also over a short outage of the database. Raises the last failure."""
    for _ in range(STORE_TRIES - 1):
        try:
            return await store()
        except Exception as error:
            if postgres.translate(error) is None:
                raise
            logger.warning("storing tokens waits for the database")
        await asyncio.sleep(STORE_PAUSE)
    return await store()


def later(error: Unavailable, platform: str) -> Exception:
    """Give what a handler raises to be called again when the platform may answer."""
    if error.after is not None:
        return worker.Snooze(error.after)
    code = domain.ErrorCode.PLATFORM_UNAVAILABLE
    logger.info("a platform does not answer", extra={"platform": platform, "cause": str(error)})
    return worker.JobFailed(code.value, domain.error(code).message, retryable=True)


def failed(error: domain.Error) -> worker.JobFailed:
    """Give what a handler raises when no further attempt helps."""
    return worker.JobFailed(error.code.value, error.message, retryable=False)
