"""Fixtures: the auth service in this process, on real PostgreSQL and NATS, called over gRPC as by the gateway."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import policy as email_policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import grpc
import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import bus, errors, identity, outbox, postgres, run
from chassis.rpc import client, server
from dev import subprocesses
from repruv.auth.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    api_token_service_pb2,
    api_token_service_pb2_grpc,
    auth_pb2,
    auth_service_pb2,
    auth_service_pb2_grpc,
    passkey_service_pb2,
    passkey_service_pb2_grpc,
)
from repruv.jobs.v1 import jobs_service_pb2
from services.auth import __main__ as auth_process
from services.auth import domain, schema, servicer
from services.auth.accounts.passwords import Passwords
from services.auth.admin import seed
from services.auth.admin import servicer as admin_servicer
from services.auth.api_tokens import servicer as token_servicer
from services.auth.connections.effects import Effects
from services.auth.context import Context
from services.auth.email import folder
from services.auth.email import handlers as email_handlers
from services.auth.email import jobs as email_jobs
from services.auth.encryption.keyring import Keyring
from services.auth.notifications.domain import EndedJob
from services.auth.passkeys import servicer as passkey_servicer
from services.auth.passkeys.relying_party import RelyingParty
from services.auth.settings import Settings, WorkerSettings
from worker import outbox as worker_outbox
from worker import testing

PASSWORD = "tulip-anvil-rowing"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A newly registered user, with their network address and first session."""

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
        self.admin_stub = admin_service_pb2_grpc.AuthAdminServiceStub(channel)
        self.passkey_stub = passkey_service_pb2_grpc.PasskeyServiceStub(channel)
        self.token_stub = api_token_service_pb2_grpc.ApiTokenServiceStub(channel)
        self._caller = caller

    async def call(self, rpc: str, request: Any, *, user: str = "") -> Any:
        """Call an rpc on behalf of the signed identity `user`."""
        stubs = (self.stub, self.admin_stub, self.passkey_stub, self.token_stub)
        stub = next(stub for stub in stubs if hasattr(stub, rpc))
        return await self._caller(getattr(stub, rpc), request, timeout=20.0, user_token=user)

    async def auth(self, rpc: str, *, user: str = "", ip_address: str = "", **fields: Any) -> Any:
        """Call an rpc of AuthService with these fields."""
        if ip_address:
            fields["client"] = auth_pb2.Client(ip_address=ip_address)
        return await self.call(rpc, getattr(auth_service_pb2, f"{rpc}Request")(**fields), user=user)

    async def admin(self, rpc: str, *, user: str, **fields: Any) -> Any:
        """Call an rpc of AuthAdminService with these fields."""
        return await self.call(rpc, getattr(admin_service_pb2, f"{rpc}Request")(**fields), user=user)

    async def passkey(self, rpc: str, *, user: str = "", ip_address: str = "", **fields: Any) -> Any:
        """Call an rpc of PasskeyService with these fields."""
        if ip_address:
            fields["client"] = auth_pb2.Client(ip_address=ip_address)
        return await self.call(rpc, getattr(passkey_service_pb2, f"{rpc}Request")(**fields), user=user)

    async def api_token(self, rpc: str, *, user: str, **fields: Any) -> Any:
        """Call an rpc of ApiTokenService with these fields."""
        return await self.call(rpc, getattr(api_token_service_pb2, f"{rpc}Request")(**fields), user=user)

    async def register(
        self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "", **fields: Any
    ) -> Any:
        from_client = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.RegisterRequest(email=email, password=password, client=from_client, **fields)
        return await self.call("Register", request)

    async def login(
        self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "", **fields: Any
    ) -> Any:
        from_client = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.LoginRequest(email=email, password=password, client=from_client, **fields)
        return await self.call("Login", request)

    async def validate(self, token: str, *, passive: bool = False) -> Any:
        return await self.call("ValidateSession", auth_service_pb2.ValidateSessionRequest(token=token, passive=passive))

    async def is_valid(self, token: str) -> bool:
        """Return whether a token belongs to a live session."""
        try:
            await self.validate(token)
        except errors.Unauthenticated as refused:
            assert refused.code == "session_invalid"
            return False
        return True

    async def sessions(self, user: str) -> list[Any]:
        return list((await self.call("ListSessions", auth_service_pb2.ListSessionsRequest(), user=user)).sessions)

    async def revoke(self, session_id: str, *, user: str, reason: str = "") -> None:
        request = auth_service_pb2.RevokeSessionRequest(session_id=session_id, reason=reason)
        await self.call("RevokeSession", request, user=user)

    async def revoke_all(self, *, user: str, keep: str = "") -> int:
        request = auth_service_pb2.RevokeAllSessionsRequest(except_session_id=keep)
        return int((await self.call("RevokeAllSessions", request, user=user)).revoked_count)

    async def account(self, *, remember: bool = True) -> Account:
        """Register a new user from a new network address."""
        email, ip_address = new_email(), new_address()
        new = await self.register(email, ip_address=ip_address, remember=remember)
        return await self.describe(new, ip_address)

    async def sign_in_again(self, account: Account, **fields: Any) -> Account:
        """Sign a user in again."""
        new = await self.login(account.email, ip_address=account.ip_address, **fields)
        return await self.describe(new, account.ip_address)

    async def describe(self, new: Any, ip_address: str) -> Account:
        """Return the account of a new session."""
        return Account(
            user_id=new.user.user_id,
            email=new.user.email,
            ip_address=ip_address,
            session_id=new.session.session_id,
            token=new.token,
            identity=(await self.validate(new.token)).identity,
        )


class Mailbox:
    """Stands in for the jobs service and the worker: email jobs run when a test asks for it."""

    def __init__(self, handler: email_handlers.EmailJobHandler, folder: Path) -> None:
        self._handler = handler
        self._folder = folder
        self._submitted: list[email_jobs.Payload] = []

    async def submit(self, message_id: str, subject: str, payload: bytes) -> None:
        """Accept a job."""
        spec = jobs_service_pb2.SubmitJobRequest.FromString(payload).spec
        if spec.kind in ("auth.disconnect", "auth.export-data"):
            return
        assert (spec.kind, spec.owner_id) == (email_jobs.KIND, worker.SYSTEM)
        fields = dict(spec.payload)
        assert not any("rpl_" in str(value) for value in fields.values())
        self._submitted.append(pydantic.TypeAdapter(email_jobs.Payload).validate_python(fields))

    def jobs(self, account: Account | str, purpose: str) -> list[email_jobs.Payload]:
        """Return the jobs of an account or an address."""
        names = {account} if isinstance(account, str) else {account.user_id, account.email}
        jobs = [job for job in self._submitted if job.user_id in names or job.email in names]
        return [job for job in jobs if job.purpose == purpose]

    async def deliver(self, account: Account | str, purpose: str, *, times: int = 1) -> EmailMessage:
        """Wait for the given number of jobs, send the last email, and return it."""
        async with asyncio.timeout(60):
            while len(jobs := self.jobs(account, purpose)) < times:
                await asyncio.sleep(0.01)
        before = set(self._folder.glob("*.eml"))
        assert (await self._handler.send(testing.RecordingContext(), jobs[-1]))["outcome"] == "sent"
        [path] = set(self._folder.glob("*.eml")) - before
        return BytesParser(policy=email_policy.default).parsebytes(path.read_bytes())

    async def link(self, account: Account | str, purpose: str, *, times: int = 1) -> str:
        """Return the secret of the link in an email."""
        return token_in(await self.deliver(account, purpose, times=times))

    async def run(self, payload: email_jobs.Payload) -> dict[str, str]:
        """Run a job."""
        return await self._handler.send(testing.RecordingContext(), payload)


async def no_ended_jobs(user: domain.User, window: datetime) -> Sequence[EndedJob]:
    """Tell the user about no job."""
    return []


def token_in(message: EmailMessage) -> str:
    """Return the secret of the link in an email."""
    text = message.get_body(("plain",))
    assert text is not None
    [token] = set(re.findall(r"token=(rpl_[A-Za-z0-9_-]{43})", text.get_content()))
    return str(token)


def new_email() -> str:
    """Return an unused address."""
    return f"ada-{secrets.token_hex(8)}@example.org"


def new_address() -> str:
    """Return a random network address, so that tests do not throttle each other."""
    # Not from `random`: Hypothesis seeds it.
    return f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"


@pytest.fixture(scope="session")
def engine(database: Callable[[str], AsyncEngine]) -> AsyncEngine:
    """Return an engine with the role of the auth service."""
    return database("auth")


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
    sender = folder.Folder(path, sender="Repruv <no-reply@example.org>", logs_links=False)
    handler = email_handlers.EmailJobHandler(
        engine=engine, sender=sender, public_url=PUBLIC_URL, find_ended_jobs=no_ended_jobs
    )
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
            server.Service.of(servicer.AuthServicer(context), servicer.CALLERS),
            server.Service.of(admin_servicer.AuthAdminServicer(context, Effects({})), admin_servicer.CALLERS),
            server.Service.of(passkey_servicer.PasskeyServicer(context), passkey_servicer.CALLERS),
            server.Service.of(token_servicer.ApiTokenServicer(context), token_servicer.CALLERS),
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
    await seed.ensure_admin(context, email=email, password=PASSWORD)
    return await gateway.describe(await gateway.login(email, ip_address=ip_address), ip_address)


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
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'auth' AND wait_event_type = 'Lock'"
        )
        return int(waiting)

    return count
