"""The operations of users on connections. Each change is one transaction: the transition and all its effects."""

from __future__ import annotations

import asyncio
import logging
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, outbox, postgres
from lifecycle.machine import Error
from lifecycle.settler import Settler
from services.auth import context, schema, throttling
from services.auth.connections import domain, secrets, storage
from services.auth.connections.demo_client import DemoMode
from services.auth.connections.domain import Action, Connection
from services.auth.connections.effects import Effects
from services.auth.connections.platforms import is_name
from services.auth.connections.providers.outbound import PlatformError
from services.auth.connections.providers.provider import AuthorizationRequest, Provider, Transaction

logger = logging.getLogger(__name__)

CONNECTS = 10
"""How often a user may begin to connect within `throttling.WINDOW`."""
VALUE_LIMIT = 4_096
"""Characters of each value of a callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user of a call, and the session."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingConnect:
    """The answer to BeginConnect."""

    connection: Connection
    authorization_url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """The values with which a platform sent a browser back."""

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
        settler: Settler[Connection, Action],
        effects: Effects,
        relay: outbox.Relay,
        demo: DemoMode,
        public_url: str,
    ) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._providers = providers
        self._vault = vault
        self._settler = settler
        self._effects = effects
        self._relay = relay
        self._demo = demo
        self._public_url = public_url

    async def list(self, user_id: UUID) -> list[Connection]:
        """Read a user's connections, one for each platform. A state that its job or time has left is repaired first.

        Platforms that are no longer offered are included if there still is access.
        """
        async with self._single.connect() as conn:
            stored = await storage.list_of_user(conn, user_id)
        connections = [stored.get(name) or Connection(user_id=user_id, platform=name) for name in self._providers]
        connections += [
            connection for name, connection in stored.items() if name not in self._providers and _has_access(connection)
        ]
        return [connection for connection, _ in await asyncio.gather(*map(self._settler.repair, connections))]

    async def get(self, user_id: UUID, platform: str) -> Connection:
        """Read a connection. A state that its job or time has left is repaired first. Raises `platform_not_found`."""
        _require_name(platform)
        async with self._single.connect() as conn:
            connection = await storage.get(conn, user_id, platform)
        if not _has_access(connection):
            self._provider(platform)
        return (await self._settler.repair(connection))[0]

    async def begin(self, user: User, platform: str, *, return_to: str) -> PendingConnect:
        """Begin to connect; return the address that the browser must go to. The proto lists the errors."""
        provider = self._provider(platform)
        return_to = domain.clean_return_to(return_to)
        async with self._engine.begin() as conn:
            await throttling.count_each(conn, {f"connections:{user.user_id}": CONNECTS})
        await self._demo.require_disabled()
        transaction = Transaction(
            redirect_uri=redirect_uri(self._public_url, platform),
            state=randomness.token_urlsafe(32),
            verifier=randomness.token_urlsafe(64),
            nonce=randomness.token_urlsafe(32),
        )
        request = await self._authorization_request(provider, transaction)
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            await context.lock_account(tx.conn, user.user_id)
            if (connection := await storage.begin(tx.conn, user.user_id, platform)) is None:
                raise domain.refusal((await storage.get(tx.conn, user.user_id, platform)).state)
            await self._effects.apply(tx, connection, Action.BEGIN, session_id=user.session_id)
            expires_at = await self._vault.store_authorization(
                tx.conn,
                connection,
                state=transaction.state,
                verifier=transaction.verifier,
                nonce=transaction.nonce,
                session_id=user.session_id,
                issuer=request.issuer,
                is_issuer_required=request.is_issuer_required,
                return_to=return_to,
            )
        return PendingConnect(connection=connection, authorization_url=request.url, expires_at=expires_at)

    async def finish(self, user: User, platform: str, callback: Callback) -> tuple[Connection, str]:
        """Accept a callback, once; return the connection and the path to go to. Raises `StateInvalid`."""
        self._provider(platform)
        values = (callback.state, callback.code, callback.error, callback.issuer)
        if not callback.state or not (callback.code or callback.error) or max(map(len, values)) > VALUE_LIMIT:
            raise domain.StateInvalid()
        # An error in here rolls back: a callback that is refused uses up nothing.
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            await context.lock_account(tx.conn, user.user_id)
            authorization = await secrets.take_authorization(
                tx.conn, state=callback.state, user_id=user.user_id, session_id=user.session_id, platform=platform
            )
            if authorization is None or not _is_from(authorization, callback.issuer):
                raise domain.StateInvalid()
            connection = await storage.get(tx.conn, user.user_id, platform, lock=True)
            if connection.generation != authorization.generation or not connection.awaits_consent:
                raise domain.StateInvalid()
            action, error, columns = _consequence(callback)
            moved = await storage.CONNECTIONS.move(
                tx.conn, connection.key, action, of_generation=connection.generation, error=error, columns=columns
            )
            if moved is None:
                raise errors.Internal("A locked row changed its state.")
            if action is Action.RETURN:
                await self._vault.store_code(tx.conn, connection, authorization, callback.code)
            await self._effects.apply(tx, moved, action, session_id=user.session_id)
        return moved, authorization.return_to

    async def disconnect(self, user: User, platform: str) -> Connection:
        """Begin to revoke the access, and stop a connect that has begun; nothing if there is neither."""
        _require_name(platform)
        key, columns = (user.user_id, platform), {"job_id": ids.uuid7()}
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            connection = await storage.CONNECTIONS.move(tx.conn, key, Action.DISCONNECT, columns=columns)
            if connection is None:
                self._provider(platform)
                return await storage.get(tx.conn, user.user_id, platform)
            await self._effects.apply(tx, connection, Action.DISCONNECT, session_id=user.session_id)
        return connection

    def title(self, platform: str) -> str:
        return self._effects.title(platform)

    def _provider(self, platform: str) -> Provider:
        if (provider := self._providers.get(platform)) is None:
            raise _unknown_platform()
        return provider

    async def _authorization_request(self, provider: Provider, transaction: Transaction) -> AuthorizationRequest:
        try:
            return await provider.authorization_request(transaction)
        except PlatformError as error:
            extra = {"platform": provider.platform.name, "cause": str(error)}
            logger.warning("a platform does not answer", extra=extra)
            message = f"{provider.platform.title} isn't responding. Try again later."
            raise errors.Unavailable(message, code="platform_unavailable") from None


def _require_name(platform: str) -> None:
    """Raise `platform_not_found` for what cannot be a name: PostgreSQL refuses texts with NUL."""
    if not is_name(platform):
        raise _unknown_platform()


def _unknown_platform() -> errors.NotFound:
    return errors.NotFound("This platform is not available.", code="platform_not_found")


def redirect_uri(public_url: str, platform: str) -> str:
    """Return the address that a platform sends browsers back to. Each has its own, so that answers cannot be mixed up."""
    return f"{public_url.rstrip('/')}/api/v1/connections/{platform}/callback"


def _consequence(callback: Callback) -> tuple[Action, Error | None, Mapping[str, Any]]:
    """Return what a callback does: an action, its error, and the columns that change with it."""
    if callback.error == "access_denied":
        return Action.DENY, None, {}
    if callback.error:
        return Action.REFUSE, domain.error(domain.ErrorCode.PLATFORM_REFUSED), {}
    return Action.RETURN, None, {"job_id": ids.uuid7()}


def _has_access(connection: Connection) -> bool:
    return connection.state in domain.KEEPS_SECRETS


def _is_from(authorization: secrets.Authorization, issuer: str) -> bool:
    """Return whether the callback comes from the server that the authorization was requested from (RFC 9207)."""
    return issuer == authorization.issuer if issuer else not authorization.is_issuer_required
