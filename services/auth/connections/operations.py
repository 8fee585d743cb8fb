"""What users do with connections. Each change is one transaction: the state, its event, and what must follow from it."""

from __future__ import annotations

import asyncio
import logging
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, outbox, postgres
from services.auth import context, throttling
from services.auth.connections import announcements, domain, secrets, settling, storage
from services.auth.connections.domain import Action, Connection
from services.auth.connections.providers.outbound import Failed
from services.auth.connections.providers.provider import Asking, Provider, Transaction

logger = logging.getLogger(__name__)

BEGINNINGS = 10
"""How often a user may begin within `throttling.WINDOW`."""
VALUE_LIMIT = 4_096
"""Characters of each value that a platform sends back."""


class Gate(Protocol):
    """What may stand in the way of a connection."""

    async def require_disabled(self) -> None:
        """Raise what stands in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks, in which session."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """The answer to BeginConnect."""

    connection: Connection
    authorization_url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What a platform sent a browser back with."""

    state: str
    code: str
    error: str
    issuer: str


class Operations:
    """The operations on connections, over one database, the jobs service and the platforms."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        providers: Mapping[str, Provider],
        vault: secrets.Vault,
        settlement: settling.Settlement,
        announced: announcements.Announcements,
        relay: outbox.Relay,
        demo: Gate,
        public_url: str,
    ) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._providers = providers
        self._vault = vault
        self._settlement = settlement
        self._announced = announced
        self._relay = relay
        self._demo = demo
        self._public_url = public_url

    async def list(self, user_id: UUID) -> list[Connection]:
        """Read a user's connections, one for each platform; what a job or time has left behind is repaired first.

        Of platforms that are not offered any more those to which there still is access.
        """
        async with self._single.connect() as conn:
            known = await storage.list_of_user(conn, user_id)
        found = [known.get(name) or Connection(user_id=user_id, platform=name) for name in self._providers]
        found += [one for name, one in known.items() if name not in self._providers and _has_access(one)]
        return list(await asyncio.gather(*map(self._settlement.repaired, found)))

    async def get(self, user_id: UUID, platform: str) -> Connection:
        """Read a connection; what its job or time has left behind is repaired first. Raises `platform_not_found`."""
        async with self._single.connect() as conn:
            connection = await storage.get(conn, user_id, platform)
        if not _has_access(connection):
            self._provider(platform)
        return await self._settlement.repaired(connection)

    async def begin(self, user: User, platform: str, *, return_to: str) -> NewSession:
        """Begin to connect; gives where the browser must go. See the proto for what it raises."""
        provider = self._provider(platform)
        return_to = domain.clean_return_to(return_to)
        async with self._engine.begin() as conn:
            await throttling.count_each(conn, {f"connections:{user.user_id}": BEGINNINGS})
        await self._demo.require_disabled()
        transaction = Transaction(
            redirect_uri=redirect_uri(self._public_url, platform),
            state=randomness.token_urlsafe(32),
            verifier=randomness.token_urlsafe(64),
            nonce=randomness.token_urlsafe(32),
        )
        asking = await self._ask(provider, transaction)
        async with self._engine.begin() as conn:
            await context.lock_account(conn, user.user_id)
            if (connection := await storage.begin(conn, user.user_id, platform)) is None:
                raise domain.refusal((await storage.get(conn, user.user_id, platform)).state)
            expires_at = await self._vault.keep_authorization(
                conn,
                connection,
                state=transaction.state,
                verifier=transaction.verifier,
                nonce=transaction.nonce,
                session_id=user.session_id,
                issuer=asking.issuer,
                is_issuer_required=asking.is_issuer_required,
                return_to=return_to,
            )
            messages = await self._announced.announce(conn, connection, Action.BEGIN, session_id=user.session_id)
        self._relay.send(messages)
        return NewSession(connection=connection, authorization_url=asking.url, expires_at=expires_at)

    async def finish(self, user: User, platform: str, returned: Returned) -> tuple[Connection, str]:
        """Take what a platform sent the browser back with, once; gives how it stands, and where to go. Raises `StateInvalid`."""
        self._provider(platform)
        values = (returned.state, returned.code, returned.error, returned.issuer)
        if not returned.state or not (returned.code or returned.error) or max(map(len, values)) > VALUE_LIMIT:
            raise domain.StateInvalid()
        # What raises in here is rolled back: an answer that does not count uses up nothing.
        async with self._engine.begin() as conn:
            await context.lock_account(conn, user.user_id)
            authorization = await secrets.take_authorization(
                conn, state=returned.state, user_id=user.user_id, session_id=user.session_id, platform=platform
            )
            if authorization is None or not _is_from(authorization, returned.issuer):
                raise domain.StateInvalid()
            connection = await storage.get(conn, user.user_id, platform, lock=True)
            if connection.generation != authorization.generation or not connection.is_away:
                raise domain.StateInvalid()
            if returned.error == "access_denied":
                action = Action.DENY
                moved = await storage.move(conn, connection, action)
            elif returned.error:
                action = Action.REFUSE
                refused = domain.error(domain.ErrorCode.PLATFORM_REFUSED)
                moved = await storage.fail(conn, connection, action, refused)
            else:
                action = Action.RETURN
                moved = await storage.move(conn, connection, action, job_id=ids.uuid7())
                await self._vault.keep_code(conn, connection, authorization, returned.code)
            if moved is None:
                raise errors.Internal("A locked connection changed its state.")
            messages = await self._announced.announce(conn, moved, action, session_id=user.session_id)
        self._relay.send(messages)
        return moved, authorization.return_to

    async def disconnect(self, user: User, platform: str) -> Connection:
        """Take access back, and stop what is under way; nothing if there is neither."""
        async with self._engine.begin() as conn:
            connection = await storage.disconnect(conn, user.user_id, platform, ids.uuid7())
            if connection is None:
                self._provider(platform)
                return await storage.get(conn, user.user_id, platform)
            messages = await self._announced.announce(conn, connection, Action.DISCONNECT, session_id=user.session_id)
        self._relay.send(messages)
        return connection

    def title(self, platform: str) -> str:
        """Give what people call a platform."""
        return self._announced.title(platform)

    def _provider(self, platform: str) -> Provider:
        if (found := self._providers.get(platform)) is None:
            raise errors.NotFound("There is no such platform.", code="platform_not_found")
        return found

    async def _ask(self, provider: Provider, transaction: Transaction) -> Asking:
        try:
            return await provider.ask(transaction)
        except Failed as error:
            logger.warning(
                "a platform cannot be asked", extra={"platform": provider.platform.name, "cause": str(error)}
            )
            message = f"{provider.platform.title} does not answer at the moment; try again later."
            raise errors.Unavailable(message, code="platform_unavailable") from None


def redirect_uri(public_url: str, platform: str) -> str:
    """Give where a platform sends browsers back to; each has one of its own, so that answers cannot be mixed up."""
    return f"{public_url.rstrip('/')}/api/v1/connections/{platform}/callback"


def _has_access(connection: Connection) -> bool:
    return connection.state in domain.KEEPS_SECRETS


def _is_from(authorization: secrets.Authorization, issuer: str) -> bool:
    """Say whether the answer comes from the server that was asked (RFC 9207)."""
    return issuer == authorization.issuer if issuer else not authorization.is_issuer_required
