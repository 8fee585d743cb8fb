"""Connections on a real database, against real authorization servers."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets as randomness
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import errors, identity, ids, outbox
from chassis.rpc import client
from dev import children
from repruv.auth.v1 import auth_events_pb2
from services.auth import schema, sealing
from services.auth.connections import (
    announcements,
    connecting,
    disconnecting,
    domain,
    operations,
    refreshing,
    secrets,
    settling,
    storage,
    submissions,
    tasks,
)
from services.auth.connections.platforms import Platform
from services.auth.connections.providers import choose, outbound
from worker import submissions as worker_submissions
from worker.requests import Jobs

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

ROOT = Path(__file__).parents[4]
SERVERS = ROOT / "tests" / "oauth_servers"
INSTALLED = ROOT / ".data" / "oauth_servers"
PUBLIC_URL = "http://127.0.0.1:8080"
CLIENT_ID, CLIENT_SECRET = "repruv", "canary-client-secret"
KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.fixture(scope="session")
def node_servers() -> Path:
    """The servers, installed once a checkout; gives their directory."""
    lock = (SERVERS / "package-lock.json").read_bytes()
    mark = INSTALLED / "installed"
    wanted = hashlib.sha256(lock).hexdigest()
    if not mark.exists() or mark.read_text() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SERVERS / name, INSTALLED)
        command: list[str | Path] = [bin_of("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=INSTALLED, check=True, timeout=100, env=node_environment(), capture_output=True)
        mark.write_text(wanted)
    # Modules are found from where a script lies.
    for script in SERVERS.glob("*.mjs"):
        shutil.copy(script, INSTALLED)
    return INSTALLED


def bin_of(name: str) -> Path:
    """Give a program of the virtual environment."""
    return Path(sys.executable).parent / name


def node_environment() -> dict[str, str]:
    """Give what Node is started with."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NODE_ENV": "test"}


def started(directory: Path, script: str, *arguments: str, log: Path) -> Iterator[str]:
    """Run a server until the generator is closed; gives its address when it listens."""
    port = children.free_port()
    with log.open("wb") as output:
        process = children.spawn(
            [bin_of("node"), directory / script, str(port), *arguments],
            environment=node_environment(),
            directory=directory,
            death_signal=signal.SIGKILL,
            output=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as http:
            http.get(f"{url}/.well-known/openid-configuration").raise_for_status()
        yield url
    finally:
        children.kill(process)


@pytest.fixture(scope="session")
def honest_url(node_servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A certified OpenID provider."""
    callback = operations.redirect_uri(PUBLIC_URL, "honest")
    log = tmp_path_factory.mktemp("honest") / "log"
    yield from started(node_servers, "provider.mjs", CLIENT_ID, CLIENT_SECRET, callback, log=log)


@pytest.fixture(scope="session")
def tampering_url(node_servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An authorization server that does what it is told to do wrong."""
    yield from started(node_servers, "tampering.mjs", log=tmp_path_factory.mktemp("tampering") / "log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampering:
    """The server that does wrong."""

    url: str
    account: str
    """Whoever signs in there."""

    async def does(self, **misdeeds: Any) -> None:
        """Do this wrong from now on, and nothing else; forget what was asked."""
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{self.url}/control", json={"external_id": self.account, **misdeeds})
            answer.raise_for_status()

    async def seen(self) -> Any:
        """What it was asked, and what it gave."""
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{self.url}/control")).json()

    async def asked(self, path: str) -> list[Any]:
        """The requests of a path."""
        return [one for one in (await self.seen())["asked"] if urlsplit(one["url"]).path == path]


@pytest.fixture(autouse=True)
async def tampering(tampering_url: str) -> Tampering:
    """The server that does wrong, and nothing yet; every test's account there is another."""
    server = Tampering(url=tampering_url, account=f"account-{randomness.token_hex(8)}")
    await server.does()
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
async def silent_jobs(signer: Callable[[str], identity.Signer]) -> AsyncIterator[Jobs]:
    """A jobs service that is down."""
    channel = worker.client.channel(f"127.0.0.1:{children.free_port()}")
    yield Jobs(channel, client.Caller(signer("auth")))
    await channel.close()


@pytest.fixture
async def jobs(jobs_target: str, signer: Callable[[str], identity.Signer]) -> AsyncIterator[Jobs]:
    """The real jobs service."""
    channel = worker.client.channel(jobs_target)
    yield Jobs(channel, client.Caller(signer("auth")))
    await channel.close()


class OpenGate:
    """Demo mode that is disabled, or whatever a test says."""

    refusal: errors.Error | None = None

    async def require_disabled(self) -> None:
        if self.refusal:
            raise self.refusal


class NobodyElse(worker_submissions.Submissions):
    """Jobs of other kinds, of which there are none."""

    async def rejected(self, request: Any) -> None:
        raise AssertionError(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Connections, put together over one jobs service."""

    engine: AsyncEngine
    operations: operations.Operations
    settlement: settling.Settlement
    submits: submissions.Submissions
    dependencies: tasks.Dependencies
    gate: OpenGate


def make_parts(
    engine: AsyncEngine,
    jobs: Jobs,
    offered: tuple[Platform, ...],
    http: outbound.Outbound,
    routes: Mapping[str, Any] = {},
) -> Parts:
    """Put connections together, with a relay that submits jobs after the commit, but neither polls nor publishes."""
    announced = announcements.Announcements({platform.name: platform.title for platform in offered})
    submits = submissions.Submissions(engine, jobs, announced, others=NobodyElse(jobs))
    relay = outbox.Relay(engine, schema.outbox, {worker_submissions.PREFIX: submits.send, **routes})
    settlement = settling.Settlement(engine=engine, jobs=jobs, submits=submits, announced=announced, relay=relay)
    providers = choose.providers(offered, http)
    vault = secrets.Vault(sealing.Ring.read(f"test:{KEY}"))
    gate = OpenGate()
    served = operations.Operations(
        engine=engine,
        providers=providers,
        vault=vault,
        settlement=settlement,
        announced=announced,
        relay=relay,
        demo=gate,
        public_url=PUBLIC_URL,
    )
    dependencies = tasks.Dependencies(
        engine=engine, providers=providers, vault=vault, announced=announced, relay=relay, public_url=PUBLIC_URL
    )
    return Parts(
        engine=engine,
        operations=served,
        settlement=settlement,
        submits=submits,
        dependencies=dependencies,
        gate=gate,
    )


@pytest.fixture
async def http() -> AsyncIterator[outbound.Outbound]:
    """Calls to platforms."""
    made = outbound.Outbound(timeout=3.0)
    yield made
    await made.close()


@pytest.fixture
def parts(engine: AsyncEngine, silent_jobs: Jobs, offered: tuple[Platform, ...], http: outbound.Outbound) -> Parts:
    """Connections while the jobs service is down: what they promise must not depend on it."""
    return make_parts(engine, silent_jobs, offered, http)


@pytest.fixture
def parts_with_jobs(engine: AsyncEngine, jobs: Jobs, offered: tuple[Platform, ...], http: outbound.Outbound) -> Parts:
    """Connections beside the real jobs service; no worker runs its jobs."""
    return make_parts(engine, jobs, offered, http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A user, and what a test does to and sees of that user's connection to one platform."""

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

    async def begin(self, return_to: str = "") -> operations.Begun:
        return await self.parts.operations.begin(self.user, self.platform, return_to=return_to)

    async def finish(self, *, state: str, code: str = "", error: str = "", issuer: str = "") -> domain.Connection:
        returned = operations.Returned(state=state, code=code, error=error, issuer=issuer)
        connection, _ = await self.parts.operations.finish(self.user, self.platform, returned)
        return connection

    async def consented(self) -> dict[str, str]:
        """Begin, and be sent back by the server that does wrong; gives what came back."""
        return await sent_back((await self.begin()).authorization_url)

    async def returned(self) -> domain.Connection:
        """Begin, consent at the server that does wrong, and come back."""
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
        return await connecting.connect(self.parts.dependencies, context or await self.context())

    async def disconnect(self) -> domain.Connection:
        return await self.parts.operations.disconnect(self.user, self.platform)

    async def take_back(self, context: worker.Context | None = None) -> Any:
        return await disconnecting.disconnect(self.parts.dependencies, context or await self.context())

    async def refresh(self, generation: int | None = None) -> Any:
        payload = {
            "user_id": str(self.user_id),
            "platform": self.platform,
            "generation": generation or (await self.connection()).generation,
        }
        return await refreshing.refresh(self.parts.dependencies, worker.Context.for_test(payload))

    async def context(self, attempt: int = 1) -> worker.Context:
        """The context of an attempt of the present job."""
        connection = await self.connection()
        return worker.Context.for_test(
            {"platform": self.platform, "generation": float(connection.generation)},
            job_id=str(connection.job_id or ids.uuid7()),
            owner_id=str(self.user_id),
            kind=connection.job_kind or "",
            attempt=attempt,
        )

    async def connection(self) -> domain.Connection:
        async with self.parts.engine.connect() as conn:
            return await storage.get(conn, self.user_id, self.platform)

    async def kept(self) -> secrets.Kept | None:
        async with self.parts.engine.connect() as conn:
            return await self.parts.dependencies.vault.get(conn, await self.connection())

    async def tokens(self) -> domain.Tokens:
        kept = await self.kept()
        assert kept
        assert kept.tokens
        return kept.tokens

    async def news(self, phase: domain.JobPhase, *, attempt: int = 1, version: int = 100) -> domain.JobNews:
        """What a snapshot of the present job would say."""
        connection = await self.connection()
        return domain.JobNews(
            job_id=connection.job_id or ids.uuid7(),
            user_id=self.user_id,
            platform=self.platform,
            generation=connection.generation,
            phase=phase,
            attempt=attempt,
            version=version,
            error_code="platform_unavailable" if phase is domain.JobPhase.FAILED else "",
        )

    async def age(self, column: str, interval: str) -> None:
        """Let time pass for one column of the connection, or of what a callback must match."""
        table = "connection_authorizations" if column == "expires_at" else "connections"
        statement = sa.text(
            f"UPDATE auth.{table} SET {column} = {column} - CAST(:by AS interval)"
            " WHERE user_id = :user AND platform = :platform"
        )
        async with self.parts.engine.begin() as conn:
            await conn.execute(statement, {"by": interval, "user": self.user_id, "platform": self.platform})

    async def told(self) -> list[tuple[str, int]]:
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
            given = {"user": self.user_id, "platform": self.platform}
            return (await conn.execute(statement, given)).first() is not None


async def sent_back(authorization_url: str) -> dict[str, str]:
    """Go to the page of consent of a server that does not ask; gives the query with which it sends the browser back."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(authorization_url)
    assert answer.status_code == 302, answer.text
    return query_of(answer.headers["Location"])


def query_of(url: str) -> dict[str, str]:
    """Give the query of an address."""
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


@pytest.fixture
async def new_owner(parts: Parts) -> Callable[..., Awaitable[Owner]]:
    """Make a user without a past."""

    async def make(platform: str = "tampering", *, of: Parts = parts) -> Owner:
        return Owner(parts=of, user_id=await insert_user(of.engine), platform=platform)

    return make


@pytest.fixture
async def owner(new_owner: Callable[..., Awaitable[Owner]]) -> Owner:
    """A user without a past, at the OpenID provider that does wrong."""
    return await new_owner()


@pytest.fixture(scope="session")
def query() -> Callable[[str], dict[str, str]]:
    """Give the query of an address."""
    return query_of


@pytest.fixture(scope="session")
def go() -> Callable[[str], Awaitable[dict[str, str]]]:
    """Go to the page of consent of a server that does not ask."""
    return sent_back


@pytest.fixture
def new_user(engine: AsyncEngine) -> Callable[[], Awaitable[UUID]]:
    """Make an account."""
    return lambda: insert_user(engine)
