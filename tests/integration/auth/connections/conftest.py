"""Connections on a real database, against real authorization servers."""

from __future__ import annotations

import secrets as randomness
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dev import subprocesses
from services.auth.connections import (
    operations,
)
from services.auth.connections.platforms import Platform
from services.auth.connections.providers import outbound
from tests.integration.auth.connections import servers
from tests.integration.auth.connections.owners import (
    PUBLIC_URL,
    Owner,
    Parts,
    insert_user,
    make_parts,
    query_of,
    sent_back,
)
from tests.integration.auth.connections.servers import Tampering
from tests.integration.conftest import GENEROUS_SECONDS
from worker import JobsClient

CLIENT_ID, CLIENT_SECRET = "repruv", "canary-client-secret"


@pytest.fixture(scope="session")
def node_servers() -> Path:
    """The servers, installed once per checkout; return their directory."""
    return servers.install()


@pytest.fixture(scope="session")
def honest_url(node_servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A certified OpenID provider."""
    callback = operations.redirect_uri(PUBLIC_URL, "honest")
    log = tmp_path_factory.mktemp("honest") / "log"
    yield from servers.run_server(node_servers, "provider.mjs", CLIENT_ID, CLIENT_SECRET, callback, log=log)


@pytest.fixture(scope="session")
def tampering_url(node_servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An authorization server that misbehaves on request."""
    yield from servers.run_server(node_servers, "tampering.mjs", log=tmp_path_factory.mktemp("tampering") / "log")


@pytest.fixture(autouse=True)
async def tampering(tampering_url: str) -> Tampering:
    """The tampering server without tampering; each test has another account there."""
    server = Tampering(url=tampering_url, account=f"account-{randomness.token_hex(8)}")
    await server.misbehave()
    return server


@pytest.fixture(scope="session")
def offered(honest_url: str, tampering_url: str) -> tuple[Platform, ...]:
    """Platforms of every kind."""
    common: dict[str, Any] = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "allows_http": True}
    api: dict[str, Any] = {"authorize_url": f"{tampering_url}/authorize", "token_url": f"{tampering_url}/token"}
    return (
        Platform(
            name="honest",
            title="Honest",
            kind="oidc",
            issuer=honest_url,
            scopes=("openid", "profile", "offline_access"),
            **common,
        ),
        Platform(name="tampering", title="T", kind="oidc", issuer=tampering_url, scopes=("openid",), **common),
        Platform(
            name="youtube",
            title="YouTube",
            kind="google",
            issuer="https://accounts.google.com",
            scopes=("youtube.readonly",),
            revoke_url=f"{tampering_url}/revoke",
            api_url=f"{tampering_url}/api",
            **api,
            **common,
        ),
        Platform(
            name="instagram",
            title="Instagram",
            kind="instagram",
            scopes=("basic",),
            api_url=f"{tampering_url}/api",
            **api,
            **common,
        ),
    )


@pytest.fixture
async def silent_jobs(jobs_of: Callable[[str, str], JobsClient]) -> JobsClient:
    """A jobs service that is down."""
    return jobs_of("auth", f"127.0.0.1:{subprocesses.free_port()}")


@pytest.fixture
async def jobs(jobs_of: Callable[[str, str], JobsClient], jobs_target: str) -> JobsClient:
    """The real jobs service."""
    return jobs_of("auth", jobs_target)


@pytest.fixture
async def http() -> AsyncIterator[outbound.Outbound]:
    """Calls to platforms, which a busy machine answers slowly."""
    http_client = outbound.Outbound(timeout=GENEROUS_SECONDS)
    yield http_client
    await http_client.close()


@pytest.fixture
def parts(
    engine: AsyncEngine,
    silent_jobs: JobsClient,
    offered: tuple[Platform, ...],
    http: outbound.Outbound,
    late_polls: timedelta,
) -> Parts:
    """Connections while the jobs service is down: their guarantees must not depend on the jobs service.

    Events stay in the outbox: the relay of `context`, if it runs, has this database too.
    """
    return make_parts(engine, silent_jobs, offered, http)


@pytest.fixture
async def new_owner(parts: Parts) -> Callable[..., Awaitable[Owner]]:
    """Make a new user."""

    async def make(platform: str = "tampering", *, owner_parts: Parts = parts) -> Owner:
        return Owner(parts=owner_parts, user_id=await insert_user(owner_parts.engine), platform=platform)

    return make


@pytest.fixture
async def owner(new_owner: Callable[..., Awaitable[Owner]]) -> Owner:
    """A new user at the tampering OpenID provider."""
    return await new_owner()


@pytest.fixture(scope="session")
def query() -> Callable[[str], dict[str, str]]:
    """Return the query of a URL."""
    return query_of


@pytest.fixture(scope="session")
def go() -> Callable[[str], Awaitable[dict[str, str]]]:
    """Open the consent page of a server that does not ask."""
    return sent_back


@pytest.fixture
def new_user(engine: AsyncEngine) -> Callable[[], Awaitable[UUID]]:
    """Make an account."""
    return lambda: insert_user(engine)
