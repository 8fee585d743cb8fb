"""The auth service in this process, on real PostgreSQL and NATS, called over gRPC as the gateway calls it."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, identity, outbox, postgres, run
from chassis.rpc import client, server
from repruv.auth.v1 import auth_pb2, auth_service_pb2, auth_service_pb2_grpc
from services.auth import schema, servicer
from services.auth.operations import Operations
from services.auth.passwords import Passwords

PASSWORD = "tulip-anvil-rowing"
MEMORY_KIB = 64
REGISTRATIONS_PER_ADDRESS = 5

_SHIFT = """
    UPDATE auth.sessions SET
        created_at = created_at - :by, last_seen_at = last_seen_at - :by,
        idle_expires_at = idle_expires_at - :by, absolute_expires_at = absolute_expires_at - :by
    WHERE session_id = :session_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user who has just registered, with where from and the first session."""

    user_id: str
    email: str
    ip_address: str
    session_id: str
    token: str
    identity: str


class Gateway:
    """Calls the auth service as the gateway does."""

    def __init__(self, channel: grpc.aio.Channel, caller: client.Caller) -> None:
        self.stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        self._caller = caller

    async def call(self, rpc: str, request: Any, *, user: str = "") -> Any:
        """Call an rpc, for the user of the signed identity `user`."""
        return await self._caller(getattr(self.stub, rpc), request, timeout=20.0, user_token=user)

    async def register(
        self, email: str, *, password: str = PASSWORD, name: str = "", ip_address: str = "", user_agent: str = ""
    ) -> Any:
        came_from = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.RegisterRequest(email=email, password=password, name=name, client=came_from)
        return await self.call("Register", request)

    async def login(self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "") -> Any:
        came_from = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.LoginRequest(email=email, password=password, client=came_from)
        return await self.call("Login", request)

    async def validate(self, token: str) -> Any:
        return await self.call("ValidateSession", auth_service_pb2.ValidateSessionRequest(token=token))

    async def sessions(self, user: str) -> list[Any]:
        return list((await self.call("ListSessions", auth_service_pb2.ListSessionsRequest(), user=user)).sessions)

    async def revoke(self, session_id: str, *, user: str, reason: str = "") -> None:
        request = auth_service_pb2.RevokeSessionRequest(session_id=session_id, reason=reason)
        await self.call("RevokeSession", request, user=user)

    async def revoke_all(self, *, user: str, keep: str = "") -> int:
        request = auth_service_pb2.RevokeAllSessionsRequest(except_session_id=keep)
        return int((await self.call("RevokeAllSessions", request, user=user)).revoked_count)

    async def account(self) -> Account:
        """Register somebody new, from an address of their own."""
        email, ip_address = new_email(), new_address()
        begun = await self.register(email, ip_address=ip_address)
        validated = await self.validate(begun.token)
        return Account(
            user_id=begun.user.user_id,
            email=email,
            ip_address=ip_address,
            session_id=begun.session.session_id,
            token=begun.token,
            identity=validated.identity,
        )


def new_email() -> str:
    """Make an address nobody has."""
    return f"ada-{secrets.token_hex(8)}@example.org"


def new_address() -> str:
    """Make an address, so that tests do not throttle each other."""
    return f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"


@pytest.fixture(scope="session")
def engine(database: Callable[[str], AsyncEngine]) -> AsyncEngine:
    """The database as the auth service sees it."""
    return database("auth")


@pytest.fixture(scope="session")
async def operations(
    engine: AsyncEngine, nats_url: str, signer: Callable[[str], identity.Signer]
) -> AsyncIterator[Operations]:
    """The operations, with relay and bus running."""
    events = bus.Bus(nats_url, name="test-auth")
    events.owns_stream("auth")
    relay = outbox.Relay(engine, schema.outbox, {"auth.events.": events.publish})
    passwords = Passwords(memory_kib=MEMORY_KIB)
    async with run.Background() as background:
        background.start("bus", events.run)
        background.start("relay", relay.run)
        yield Operations(
            engine=engine,
            passwords=passwords,
            signer=signer("auth"),
            wake_relay=relay.wake,
            registrations_per_address=REGISTRATIONS_PER_ADDRESS,
        )
    passwords.close()


@pytest.fixture(scope="session")
async def channel(operations: Operations, verifier: identity.Verifier) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service."""
    serving = server.serving(
        listen="127.0.0.1:0",
        services=[
            server.Service(
                name=servicer.SERVICE,
                register=partial(
                    auth_service_pb2_grpc.add_AuthServiceServicer_to_server, servicer.AuthServicer(operations)
                ),
                callers=servicer.CALLERS,
            )
        ],
        verifier=verifier,
        translate=postgres.translate,
    )
    async with serving as port:
        opened = client.channel(f"127.0.0.1:{port}", service=servicer.SERVICE)
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def gateway(channel: grpc.aio.Channel, signer: Callable[[str], identity.Signer]) -> Gateway:
    """The gateway."""
    return Gateway(channel, client.Caller(signer("gateway")))


@pytest.fixture(scope="session")
def sql(engine: AsyncEngine) -> Callable[..., Any]:
    """Run one statement of SQL; gives its rows, or none."""

    async def execute(statement: str, **values: Any) -> list[Any]:
        async with engine.begin() as conn:
            result = await conn.execute(sa.text(statement), values)
            return list(result.all()) if result.returns_rows else []

    return execute


@pytest.fixture(scope="session")
def shift(sql: Callable[..., Any]) -> Callable[..., Any]:
    """Let time pass for one session."""

    async def shifted(session_id: str, by: Any) -> None:
        await sql(_SHIFT, session_id=session_id, by=by)

    return shifted


@pytest.fixture(scope="session")
def waiting_for_locks(sql: Callable[..., Any]) -> Callable[[], Awaitable[int]]:
    """Count the statements of the service that wait for a row."""

    async def count() -> int:
        [(found,)] = await sql(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'auth' AND wait_event_type = 'Lock'"
        )
        return int(found)

    return count
