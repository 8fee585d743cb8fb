"""Users with a connection, and the objects that change it."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import errors, ids, outbox
from lifecycle.machine import Error, JobPhase, JobUpdate
from lifecycle.settler import Settler
from lifecycle.submitter import LifecycleSubmitter
from repruv.auth.v1 import auth_events_pb2
from repruv.jobs.v1 import jobs_service_pb2
from services.auth import schema
from services.auth.connections import domain, operations, secrets, storage
from services.auth.connections.demo_client import DemoMode
from services.auth.connections.domain import Action, Connection
from services.auth.connections.effects import Effects
from services.auth.connections.handlers import connect, disconnect, refresh, revoke_tokens
from services.auth.connections.handlers.dependencies import Dependencies
from services.auth.connections.platforms import Platform
from services.auth.connections.providers import outbound, registry
from services.auth.encryption.keyring import Keyring
from worker import JobsClient, testing
from worker import outbox as worker_outbox

PUBLIC_URL = "http://127.0.0.1:8080"
KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


class OpenGate(DemoMode):
    """Demo mode that is disabled, or in the state of the test."""

    def __init__(self) -> None:
        self.refusal: errors.Error | None = None

    async def require_disabled(self) -> None:
        if self.refusal:
            raise self.refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The objects of connections over one jobs service."""

    engine: AsyncEngine
    operations: operations.Operations
    settler: Settler[Connection, Action]
    submitter: LifecycleSubmitter
    dependencies: Dependencies
    gate: OpenGate


def make_parts(
    engine: AsyncEngine,
    jobs: JobsClient,
    offered: tuple[Platform, ...],
    http: outbound.Outbound,
    routes: Mapping[str, Any] = {},
) -> Parts:
    """Build connections with a relay that submits jobs after the commit, but neither polls nor publishes."""
    effects = Effects({platform.name: platform.title for platform in offered})
    submitter = LifecycleSubmitter(engine, jobs, effects.lifecycle())
    relay = outbox.Relay(engine, schema.outbox, {worker_outbox.PREFIX: submitter.send, **routes})
    settler = Settler(effects.lifecycle(), engine=engine, relay=relay, jobs=jobs, submitter=submitter)
    providers = registry.providers(offered, http)
    vault = secrets.Vault(Keyring.read(f"test:{KEY}"))
    gate = OpenGate()
    served = operations.Operations(
        engine=engine,
        providers=providers,
        vault=vault,
        settler=settler,
        effects=effects,
        relay=relay,
        demo=gate,
        public_url=PUBLIC_URL,
    )
    dependencies = Dependencies(
        engine=engine,
        lifecycle=settler.lifecycle,
        providers=providers,
        vault=vault,
        effects=effects,
        relay=relay,
        public_url=PUBLIC_URL,
        offered=frozenset(providers),
    )
    return Parts(
        engine=engine,
        operations=served,
        settler=settler,
        submitter=submitter,
        dependencies=dependencies,
        gate=gate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A user, with actions on and views of the user's connection to one platform."""

    parts: Parts
    user_id: UUID
    platform: str
    session_id: UUID = field(default_factory=uuid4)

    @property
    def user(self) -> operations.User:
        return operations.User(user_id=self.user_id, session_id=self.session_id)

    def at(self, platform: str) -> Owner:
        return replace(self, platform=platform)

    def in_another_session(self) -> Owner:
        return replace(self, session_id=uuid4())

    async def begin(self, return_to: str = "") -> operations.PendingConnect:
        return await self.parts.operations.begin(self.user, self.platform, return_to=return_to)

    async def finish(self, *, state: str, code: str = "", error: str = "", issuer: str = "") -> domain.Connection:
        callback = operations.Callback(state=state, code=code, error=error, issuer=issuer)
        connection, _ = await self.parts.operations.finish(self.user, self.platform, callback)
        return connection

    async def consented(self) -> dict[str, str]:
        """Begin, and consent at the tampering server; return the callback."""
        return await sent_back((await self.begin()).authorization_url)

    async def returned(self) -> domain.Connection:
        """Begin, consent at the tampering server, and finish."""
        return await self.come_back(await self.consented())

    async def come_back(self, values: Mapping[str, str]) -> domain.Connection:
        return await self.finish(
            state=values.get("state", ""),
            code=values.get("code", ""),
            error=values.get("error", ""),
            issuer=values.get("iss", ""),
        )

    async def connected(self) -> domain.Connection:
        await self.returned()
        await self.connect()
        connection = await self.connection()
        assert connection.state is domain.State.CONNECTED
        return connection

    async def connect(self, context: worker.Context | None = None) -> Any:
        return await connect.connect(self.parts.dependencies, context or await self.context())

    async def disconnect(self) -> domain.Connection:
        return await self.parts.operations.disconnect(self.user, self.platform)

    async def take_back(self, context: worker.Context | None = None) -> Any:
        return await disconnect.disconnect(self.parts.dependencies, context or await self.context())

    async def refresh(self, generation: int | None = None) -> Any:
        payload = {
            "user_id": str(self.user_id),
            "platform": self.platform,
            "generation": generation or (await self.connection()).generation,
        }
        return await refresh.refresh(self.parts.dependencies, testing.RecordingContext(payload))

    async def revoke_tokens(self, generation: int | None = None) -> Any:
        """Run the revocation job of the tokens that were set aside of a generation, by default the present one."""
        payload = {
            "user_id": str(self.user_id),
            "platform": self.platform,
            "generation": generation or (await self.connection()).generation,
        }
        return await revoke_tokens.revoke_tokens(self.parts.dependencies, testing.RecordingContext(payload))

    async def submitted(self) -> list[str]:
        """The kinds of this connection's jobs in the outbox."""
        async with self.parts.engine.connect() as conn:
            statement = sa.select(schema.outbox.c.payload).order_by(schema.outbox.c.message_id)
            rows = (await conn.execute(statement.where(schema.outbox.c.subject == worker_outbox.SUBJECT))).scalars()
            specs = [jobs_service_pb2.SubmitJobRequest.FromString(row).spec for row in rows]
        key = {(str(self.user_id), self.platform)}
        return [
            spec.kind
            for spec in specs
            if (
                spec.payload.fields["user_id"].string_value or spec.owner_id,
                spec.payload.fields["platform"].string_value,
            )
            in key
        ]

    async def context(self, attempt: int = 1) -> worker.Context:
        """The context of an attempt of the current job."""
        connection = await self.connection()
        return testing.RecordingContext(
            {"platform": self.platform, "generation": float(connection.generation)},
            job_id=str(connection.job_id or ids.uuid7()),
            owner_id=str(self.user_id),
            kind=connection.job_kind or "",
            attempt=attempt,
        )

    async def connection(self) -> domain.Connection:
        async with self.parts.engine.connect() as conn:
            return await storage.get(conn, self.user_id, self.platform)

    async def stored(self) -> secrets.Stored | None:
        async with self.parts.engine.connect() as conn:
            return await self.parts.dependencies.vault.get(conn, await self.connection())

    async def tokens(self) -> domain.Tokens:
        stored = await self.stored()
        assert stored
        assert stored.tokens
        return stored.tokens

    async def settle(self, update: JobUpdate) -> Connection:
        return await self.parts.settler.settle(update)

    async def update(self, phase: JobPhase, *, attempt: int = 1, version: int = 100) -> JobUpdate:
        """An update of the current job."""
        connection = await self.connection()
        return JobUpdate(
            key=connection.key,
            job_id=connection.job_id or ids.uuid7(),
            kind=connection.job_kind or "",
            generation=connection.generation,
            phase=phase,
            attempt=attempt,
            version=version,
            error=Error(code="platform_unavailable", message="Down.") if phase is JobPhase.FAILED else None,
        )

    async def age(self, column: str, interval: str) -> None:
        """Move one time of the connection, or of its pending authorization, into the past."""
        table = "connection_authorizations" if column == "expires_at" else "connections"
        statement = sa.text(
            f"UPDATE auth.{table} SET {column} = {column} - CAST(:by AS interval)"
            " WHERE user_id = :user AND platform = :platform"
        )
        async with self.parts.engine.begin() as conn:
            await conn.execute(statement, {"by": interval, "user": self.user_id, "platform": self.platform})

    def after_response(
        self, monkeypatch: pytest.MonkeyPatch, method: str, act: Callable[[], Awaitable[object]]
    ) -> None:
        """Run `act` once, after the platform has responded to `method` and before the handler stores the tokens."""
        provider = type(self.parts.dependencies.providers[self.platform])
        call = getattr(provider, method)

        async def superseded(provider_self: Any, *arguments: Any) -> Any:
            tokens = await call(provider_self, *arguments)
            monkeypatch.setattr(provider, method, call)
            await act()
            return tokens

        monkeypatch.setattr(provider, method, superseded)

    async def published_events(self) -> list[tuple[str, int]]:
        """The events in the outbox, as (reason, version), oldest first."""
        async with self.parts.engine.connect() as conn:
            statement = sa.select(schema.outbox.c.payload).order_by(schema.outbox.c.message_id)
            subject = f"auth.events.connections.{self.user_id}"
            payloads = (await conn.execute(statement.where(schema.outbox.c.subject == subject))).scalars()
            events = [auth_events_pb2.ConnectionEvent.FromString(payload) for payload in payloads]
        return [
            (event.reason, event.connection.version) for event in events if event.connection.platform == self.platform
        ]

    async def recorded(self) -> list[tuple[str, str]]:
        """The security events, as (kind, reason), oldest first."""
        table = schema.security_events
        statement = sa.select(table.c.kind, table.c.details).where(table.c.user_id == self.user_id)
        async with self.parts.engine.connect() as conn:
            rows = await conn.execute(statement.order_by(table.c.event_id))
            return [(row.kind, row.details["reason"]) for row in rows]

    async def row_exists(self, table: str) -> bool:
        statement = sa.text(f"SELECT 1 FROM auth.{table} WHERE user_id = :user AND platform = :platform")
        async with self.parts.engine.connect() as conn:
            arguments = {"user": self.user_id, "platform": self.platform}
            return (await conn.execute(statement, arguments)).first() is not None


async def sent_back(authorization_url: str) -> dict[str, str]:
    """Open the consent page of a server that does not ask; return the query of its redirect."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(authorization_url)
    assert answer.status_code == 302, answer.text
    return query_of(answer.headers["Location"])


def query_of(url: str) -> dict[str, str]:
    """Return the query of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def insert_user(engine: AsyncEngine) -> UUID:
    """Make an account."""
    user_id = uuid4()
    statement = sa.insert(schema.users).values(
        user_id=user_id, email=f"{user_id}@example.org", name="", role="user", password_hash="$argon2id$"
    )
    async with engine.begin() as conn:
        await conn.execute(statement)
    return user_id
