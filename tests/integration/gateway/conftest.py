"""The gateway on a real socket, before real auth, jobs and demo services and a demo worker, all in this process."""

from __future__ import annotations

import asyncio
import base64
import secrets
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, cast

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from dev import subprocesses
from dev.embedded import EmbeddedServers
from gateway import __main__ as gateway_process
from gateway import clients
from gateway.settings import Settings
from repruv.jobs.v1 import kind_pb2
from services.auth import __main__ as auth_service
from services.auth.connections import platform_settings
from services.auth.settings import Settings as AuthSettings
from services.auth.settings import WorkerSettings as AuthWorkerSettings
from services.demo import __main__ as demo_service
from services.demo.settings import Settings as DemoSettings
from services.demo.settings import WorkerSettings
from tests.integration.jobs.jobs_server import JobsApi

PASSWORD = "tulip-anvil-rowing"
ADMIN_EMAIL = "admin@example.org"
PLATFORMS = {
    "PLATFORMS": "youtube,instagram",
    "PLATFORM_YOUTUBE_CLIENT_ID": "client",
    "PLATFORM_YOUTUBE_CLIENT_SECRET": "secret",
    "PLATFORM_INSTAGRAM_CLIENT_ID": "client",
    "PLATFORM_INSTAGRAM_CLIENT_SECRET": "secret",
}
"""No test opens it: the gateway handles only the redirects to the platform and back."""
ENCRYPTION_KEYS = f"test:{base64.urlsafe_b64encode(bytes(32)).decode().rstrip('=')}"
TRACE_URL = "https://traces.example.org/{trace_id}?tab=all"
READY_SECONDS = 60.0
GENEROUS_SECONDS = 60.0
"""Deadline of calls here, where all services share one process with the tests."""

Serve = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A newly registered user, with a client that has the cookie."""

    http: httpx.AsyncClient
    user_id: str
    email: str


_AGE = """
    UPDATE auth.sessions SET
        created_at = created_at - :by, last_seen_at = last_seen_at - :by, authenticated_at = authenticated_at - :by,
        idle_expires_at = idle_expires_at - :by, absolute_expires_at = absolute_expires_at - :by
    WHERE user_id = :user
"""


async def age_sessions(engine: AsyncEngine, user_id: str, by: timedelta) -> None:
    """Move the times of a user's sessions into the past."""
    async with engine.begin() as conn:
        await conn.execute(sa.text(_AGE), {"user": uuid.UUID(user_id), "by": by})


@asynccontextmanager
async def serving(serve: Serve) -> AsyncGenerator[None, None]:
    """Run the `serve` coroutine of a process in this process."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve(stop))
    try:
        yield
    finally:
        stop.set()
        await task


@pytest.fixture(scope="session", autouse=True)
def generous_deadlines_of_the_gateway() -> Iterator[None]:
    """Let calls and waits for locks take their time: a test of a deadline shortens that of one client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients.service.Client, "timeout", GENEROUS_SECONDS)
        patch.setattr(clients.service.Client, "quick_timeout", GENEROUS_SECONDS)
        patch.setattr(clients.service, "HEALTH_TIMEOUT", GENEROUS_SECONDS)
        # What a test holds with `locked` waits, however long the test takes.
        patch.setitem(cast("dict[str, Any]", postgres.engine.__kwdefaults__), "lock_seconds", GENEROUS_SECONDS)
        yield


@pytest.fixture(scope="session")
def identities(nats_url: str, seeds: dict[str, str], trusted_identity_keys: str) -> Callable[[str], dict[str, str]]:
    """Return the settings of every process."""
    return lambda service: {
        "nats_url": nats_url,
        "identity_key": seeds[service],
        "trusted_identity_keys": trusted_identity_keys,
    }


@pytest.fixture(scope="session")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of emails."""
    return tmp_path_factory.mktemp("mails")


@pytest.fixture(scope="session")
def auth_settings(
    database_url: Callable[[str], str],
    identities: Callable[[str], dict[str, str]],
    jobs_target: str,
    demo_target: str,
) -> Callable[..., AuthSettings]:
    """Return settings of another auth service, with cheap password hashes and unlimited registrations."""

    def settings(**changed: Any) -> AuthSettings:
        values: dict[str, Any] = {
            "listen": f"127.0.0.1:{subprocesses.free_port()}",
            "database_url": database_url("auth"),
            "jobs_target": jobs_target,
            "demo_target": demo_target,
            "encryption_keys": ENCRYPTION_KEYS,
            "password_memory_kib": 64,
            "registrations_per_address": 1_000_000,
            "admin_email": ADMIN_EMAIL,
            "admin_password": PASSWORD,
            **identities("auth"),
            **changed,
        }
        return AuthSettings(**values)

    return settings


@pytest.fixture(scope="session")
async def auth_target(
    auth_settings: Callable[..., AuthSettings], identities: Callable[[str], dict[str, str]], mails: Path
) -> AsyncIterator[str]:
    """Run the auth service and its worker."""
    config = auth_settings()
    values: dict[str, Any] = {"email_url": f"folder:{mails}", "encryption_keys": ENCRYPTION_KEYS, **identities("auth")}
    values |= {"jobs_target": config.jobs_target, "demo_target": config.demo_target}
    worker_config = AuthWorkerSettings(database_url=config.database_url, **values)
    with psycopg.connect(config.database_url) as connection:
        # Only the first admin comes from the settings, and the tests of auth may have left theirs.
        others = "UPDATE auth.users SET disabled_at = now() WHERE role = 'admin' AND email <> %s"
        connection.execute(others, [ADMIN_EMAIL])
    async with AsyncExitStack() as stack:
        offered = platform_settings.read(PLATFORMS)
        await stack.enter_async_context(serving(partial(auth_service.serve, config, offered=offered)))
        await stack.enter_async_context(serving(partial(auth_service.work, worker_config, offered=offered)))
        yield config.listen


@pytest.fixture(scope="session")
async def demo_target(
    database_url: Callable[[str], str], identities: Callable[[str], dict[str, str]], jobs_target: str
) -> AsyncIterator[str]:
    """Run the demo service and its worker."""
    target = f"127.0.0.1:{subprocesses.free_port()}"
    values: dict[str, Any] = {**identities("demo"), "database_url": database_url("demo"), "jobs_target": jobs_target}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(partial(demo_service.serve, DemoSettings(listen=target, **values))))
        await stack.enter_async_context(serving(partial(demo_service.work, WorkerSettings(**values))))
        yield target


@pytest.fixture(scope="session")
def gateway_settings(
    identities: Callable[[str], dict[str, str]], auth_target: str, demo_target: str, jobs_target: str
) -> Callable[..., Settings]:
    """Return settings of another gateway."""

    def settings(**changed: Any) -> Settings:
        listen = f"127.0.0.1:{subprocesses.free_port()}"
        values: dict[str, Any] = {
            "listen": listen,
            "trace_url": TRACE_URL,
            "auth_target": auth_target,
            "demo_target": demo_target,
            "jobs_target": jobs_target,
            "public_url": f"http://{listen}",
            **identities("gateway"),
            **changed,
        }
        return Settings(**values)

    return settings


@asynccontextmanager
async def gateway_serving(config: Settings, *, probe: str = "/readyz") -> AsyncGenerator[str, None]:
    """Run a gateway; yield its URL once it answers `probe`."""
    async with serving(partial(gateway_process.serve, config)):
        url = f"http://{config.listen}"
        async with httpx.AsyncClient(base_url=url) as client, asyncio.timeout(READY_SECONDS):
            while not await _is_ready(client, probe):
                await asyncio.sleep(0.02)
        yield url


async def _is_ready(client: httpx.AsyncClient, probe: str) -> bool:
    try:
        return (await client.get(probe)).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
async def url(gateway_settings: Callable[..., Settings]) -> AsyncIterator[str]:
    """Run the gateway that all tests share."""
    async with gateway_serving(gateway_settings()) as served:
        yield served


@pytest.fixture
def locked(provisioned: EmbeddedServers) -> Callable[[LiteralString], AbstractAsyncContextManager[None]]:
    """Return a context that holds a lock as the superuser: services end only stalled transactions of their own role."""

    @asynccontextmanager
    async def hold(statement: LiteralString) -> AsyncGenerator[None]:
        async with await psycopg.AsyncConnection.connect(provisioned.postgres.url) as conn:
            await conn.execute(statement)
            yield

    return hold


@pytest.fixture
async def register(url: str) -> AsyncIterator[Callable[..., Awaitable[Account]]]:
    """Make accounts."""
    async with AsyncExitStack() as stack:

        async def make(base_url: str = url) -> Account:
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=base_url, timeout=60.0))
            email = f"{secrets.token_hex(8)}@example.org"
            answer = await client.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            return Account(http=client, user_id=answer.json()["user"]["user_id"], email=email)

        yield make


@pytest.fixture
async def account(register: Callable[..., Awaitable[Account]]) -> Account:
    """Register an account for one test."""
    return await register()


@pytest.fixture
async def admin(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the admin, signed in by cookie."""
    async with httpx.AsyncClient(base_url=url, timeout=60.0) as client:
        answer = await client.post("/api/v1/auth/login", json={"email": ADMIN_EMAIL, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client


@pytest.fixture
async def kind(jobs_api: JobsApi) -> str:
    """Register a kind for one test, without a worker."""
    name = f"demo.{uuid.uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=name))
    return name
