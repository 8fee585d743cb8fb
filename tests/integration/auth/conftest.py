"""Fixtures: the auth service in this process, on real PostgreSQL and NATS, called over gRPC as by the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, identity, outbox, postgres, run
from chassis.rpc import client, server
from dev import subprocesses
from services.auth import __main__ as auth_process
from services.auth import email_handler, schema, servicer
from services.auth.admin import seed
from services.auth.admin import servicer as admin_servicer
from services.auth.api_tokens import servicer as token_servicer
from services.auth.connections.effects import Effects
from services.auth.context import Context
from services.auth.email import folder
from services.auth.encryption.keyring import Keyring
from services.auth.passkeys import servicer as passkey_servicer
from services.auth.passkeys.relying_party import RelyingParty
from services.auth.passwords import Passwords
from services.auth.settings import Settings, WorkerSettings
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address, new_email
from tests.integration.auth.mailbox import Mailbox
from worker import outbox as worker_outbox

MEMORY_KIB = 64
REGISTRATIONS_PER_ADDRESS = 5
VERIFICATION_PERIOD = timedelta(days=7)
PUBLIC_URL = "https://repruv.example"

_SHIFT = """
    UPDATE auth.sessions SET
        created_at = created_at - :by, last_seen_at = last_seen_at - :by, authenticated_at = authenticated_at - :by,
        idle_expires_at = idle_expires_at - :by, absolute_expires_at = absolute_expires_at - :by
    WHERE session_id = :session_id
"""


@pytest.fixture(scope="session")
async def engine(database_url: Callable[[str], str]) -> AsyncIterator[AsyncEngine]:
    """Yield an engine with the role of the auth service. What waits for a lock of a test waits as long as the test takes."""
    engine = postgres.engine(database_url("auth"), name="test-auth", pool_size=40, lock_seconds=30.0)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def services_database(create_database: Callable[[], Callable[[str], str]]) -> Callable[[str], str]:
    """Return the URLs of a database for whole services: in the shared one the relay of `context` may take their jobs."""
    return create_database()


AuthProcesses = tuple[str, asyncio.Event, "asyncio.Future[tuple[None, None]]"]
"""The target of the service, the event that stops it and its worker, and both of them as a future."""


@pytest.fixture
async def auth_processes(
    services_database: Callable[[str], str],
    nats_url: str,
    seeds: dict[str, str],
    trusted_identity_keys: str,
    jobs_target: str,
    tmp_path: Path,
) -> AuthProcesses:
    """Run `serve` and `work` of auth in this process; the worker writes emails to `tmp_path`."""
    target = f"127.0.0.1:{subprocesses.free_port()}"
    common: dict[str, Any] = {
        "database_url": services_database("auth"),
        "nats_url": nats_url,
        "identity_key": seeds["auth"],
        "trusted_identity_keys": trusted_identity_keys,
        "jobs_target": jobs_target,
        "demo_target": target,
        "encryption_keys": "a:" + "A" * 43,
    }
    stop = asyncio.Event()
    serve = auth_process.serve(Settings(listen=target, password_memory_kib=64, **common), stop)
    work = auth_process.work(WorkerSettings(email_url=f"folder:{tmp_path}", **common), stop)
    return target, stop, asyncio.gather(serve, work)


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """Two encryption keys."""
    return Keyring({"b": b"B" * 32, "a": b"A" * 32})


@pytest.fixture(scope="session")
def mailbox(engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory) -> Mailbox:
    """Return the email jobs and the folder of emails."""
    path = tmp_path_factory.mktemp("mails")
    sender = folder.Folder(path, sender="Repruv <no-reply@example.org>")
    handler = email_handler.EmailJobHandler(engine=engine, sender=sender, public_url=PUBLIC_URL, renderers={})
    return Mailbox(handler, path)


@pytest.fixture(scope="session")
async def context(
    engine: AsyncEngine, nats_url: str, signer: Callable[[str], identity.Signer], keyring: Keyring, mailbox: Mailbox
) -> AsyncIterator[Context]:
    """Yield the context of operations, with relay and bus running."""
    events = bus.Bus(nats_url, name="test-auth")
    events.owns_stream("auth")
    relay = outbox.Relay(engine, schema.outbox, {"auth.events.": events.publish, worker_outbox.PREFIX: mailbox.submit})
    passwords = Passwords(memory_kib=MEMORY_KIB)
    async with run.Background() as background:
        background.start("bus", events.run)
        background.start("relay", relay.run)
        yield Context(
            engine=engine,
            passwords=passwords,
            signer=signer("auth"),
            keyring=keyring,
            relay=relay,
            registrations_per_address=REGISTRATIONS_PER_ADDRESS,
            max_guests=10_000,
            verification_period=VERIFICATION_PERIOD,
            relying_party=RelyingParty.from_url(PUBLIC_URL),
        )
    passwords.close()


@pytest.fixture(scope="session")
async def channel(context: Context, verifier: identity.Verifier) -> AsyncIterator[grpc.aio.Channel]:
    """Yield a channel to the service."""
    async with served(context, verifier) as channel:
        yield channel


@asynccontextmanager
async def served(context: Context, verifier: identity.Verifier) -> AsyncIterator[grpc.aio.Channel]:
    """Serve the four services; yield a channel to them."""
    serving = server.serving(
        listen="127.0.0.1:0",
        services=[
            server.Service.from_servicer(servicer.AuthServicer(context), servicer.CALLERS),
            server.Service.from_servicer(
                admin_servicer.AuthAdminServicer(context, Effects({})), admin_servicer.CALLERS
            ),
            server.Service.from_servicer(passkey_servicer.PasskeyServicer(context), passkey_servicer.CALLERS),
            server.Service.from_servicer(token_servicer.ApiTokenServicer(context), token_servicer.CALLERS),
        ],
        verifier=verifier,
        translate=postgres.translate,
    )
    async with serving as port:
        channel = client.channel(f"127.0.0.1:{port}", service=servicer.SERVICE)
        yield channel
        await channel.close()


@pytest.fixture(scope="session")
def gateway(channel: grpc.aio.Channel, signer: Callable[[str], identity.Signer]) -> Gateway:
    """Return a client that calls as the gateway."""
    return Gateway(channel, client.Caller(signer("gateway")))


@pytest.fixture
async def admin(gateway: Gateway, context: Context) -> Account:
    """Return a newly signed-in admin."""
    email, ip_address = new_email(), new_address()
    await seed.ensure_admin(context, email=email, password=PASSWORD, beside_others=True)
    return await gateway.describe(await gateway.login(email, ip_address=ip_address), ip_address)


@pytest.fixture
async def no_admin(sql: Callable[..., Any]) -> AsyncIterator[None]:
    """Disable the admins of other tests while a test lasts."""
    rows = await sql(
        "UPDATE auth.users SET disabled_at = now() WHERE role = 'admin' AND disabled_at IS NULL RETURNING user_id"
    )
    yield
    await sql("UPDATE auth.users SET disabled_at = NULL WHERE user_id = ANY(:ids)", ids=[row.user_id for row in rows])


@pytest.fixture(scope="session")
def sql(engine: AsyncEngine) -> Callable[..., Any]:
    """Run one SQL statement; return its rows, if any."""

    async def execute(statement: str, **values: Any) -> list[Any]:
        async with engine.begin() as conn:
            result = await conn.execute(sa.text(statement), values)
            return list(result.all()) if result.returns_rows else []

    return execute


@pytest.fixture(scope="session")
def shift(sql: Callable[..., Any]) -> Callable[..., Any]:
    """Move the times of one session into the past."""

    async def shifted(session_id: str, by: Any) -> None:
        await sql(_SHIFT, session_id=session_id, by=by)

    return shifted


@pytest.fixture(scope="session")
def waiting_for_locks(sql: Callable[..., Any]) -> Callable[[], Awaitable[int]]:
    """Count the statements of the service that wait for a row lock."""

    async def count() -> int:
        [(waiting,)] = await sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name LIKE '%test-auth%' AND wait_event_type = 'Lock' AND datname = current_database()"
        )
        return int(waiting)

    return count
