"""The auth service in this process, on real PostgreSQL and NATS, called over gRPC as the gateway calls it."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import policy as email_policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import partial
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
from repruv.auth.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    auth_pb2,
    auth_service_pb2,
    auth_service_pb2_grpc,
    passkey_service_pb2,
    passkey_service_pb2_grpc,
)
from repruv.jobs.v1 import jobs_service_pb2
from services.auth import schema, servicer
from services.auth.accounts.passwords import Passwords
from services.auth.admin import seed
from services.auth.admin import servicer as admin_servicer
from services.auth.connections.effects import Effects
from services.auth.context import Context
from services.auth.email import folder
from services.auth.email import handlers as email_handlers
from services.auth.email import jobs as email_jobs
from services.auth.encryption.keyring import Keyring
from services.auth.passkeys import servicer as passkey_servicer
from services.auth.passkeys.relying_party import RelyingParty
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
        self.admin_stub = admin_service_pb2_grpc.AuthAdminServiceStub(channel)
        self.passkey_stub = passkey_service_pb2_grpc.PasskeyServiceStub(channel)
        self._caller = caller

    async def call(self, rpc: str, request: Any, *, user: str = "") -> Any:
        """Call an rpc, for the user of the signed identity `user`."""
        stub = next(stub for stub in (self.stub, self.admin_stub, self.passkey_stub) if hasattr(stub, rpc))
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

    async def register(
        self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "", **fields: Any
    ) -> Any:
        came_from = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.RegisterRequest(email=email, password=password, client=came_from, **fields)
        return await self.call("Register", request)

    async def login(
        self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "", **fields: Any
    ) -> Any:
        came_from = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.LoginRequest(email=email, password=password, client=came_from, **fields)
        return await self.call("Login", request)

    async def validate(self, token: str, *, passive: bool = False) -> Any:
        return await self.call("ValidateSession", auth_service_pb2.ValidateSessionRequest(token=token, passive=passive))

    async def is_valid(self, token: str) -> bool:
        """Whether a token is one of a living session."""
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
        """Register somebody new, from an address of their own."""
        email, ip_address = new_email(), new_address()
        begun = await self.register(email, ip_address=ip_address, remember=remember)
        return await self.described(begun, ip_address)

    async def again(self, account: Account, **fields: Any) -> Account:
        """Sign somebody in again."""
        begun = await self.login(account.email, ip_address=account.ip_address, **fields)
        return await self.described(begun, account.ip_address)

    async def described(self, begun: Any, ip_address: str) -> Account:
        """Give the account of a session that has just begun."""
        return Account(
            user_id=begun.user.user_id,
            email=begun.user.email,
            ip_address=ip_address,
            session_id=begun.session.session_id,
            token=begun.token,
            identity=(await self.validate(begun.token)).identity,
        )


class Post:
    """The jobs service and the worker, as far as mails need them: jobs that were submitted run when a test says so."""

    def __init__(self, mailer: email_handlers.EmailJobHandler, folder: Path) -> None:
        self._mailer = mailer
        self._folder = folder
        self._submitted: list[email_jobs.Payload] = []

    async def submit(self, message_id: str, subject: str, payload: bytes) -> None:
        """Take a job."""
        spec = jobs_service_pb2.SubmitJobRequest.FromString(payload).spec
        if spec.kind == "auth.disconnect":
            return
        assert (spec.kind, spec.owner_id) == (email_jobs.KIND, worker.SYSTEM)
        told = dict(spec.payload)
        assert not any("rpl_" in str(value) for value in told.values())
        self._submitted.append(pydantic.TypeAdapter(email_jobs.Payload).validate_python(told))

    def jobs(self, account: Account | str, purpose: str) -> list[email_jobs.Payload]:
        """Give the jobs of an account, or an address."""
        names = {account} if isinstance(account, str) else {account.user_id, account.email}
        mine = [one for one in self._submitted if one.user_id in names or one.email in names]
        return [one for one in mine if one.purpose == purpose]

    async def deliver(self, account: Account | str, purpose: str, *, times: int = 1) -> EmailMessage:
        """Wait for a mail to be asked for as often, send the last one, and give it."""
        async with asyncio.timeout(10):
            while len(found := self.jobs(account, purpose)) < times:
                await asyncio.sleep(0.01)
        before = set(self._folder.glob("*.eml"))
        assert (await self._mailer.send(testing.RecordingContext(), found[-1]))["outcome"] == "sent"
        [path] = set(self._folder.glob("*.eml")) - before
        return BytesParser(policy=email_policy.default).parsebytes(path.read_bytes())

    async def link(self, account: Account | str, purpose: str, *, times: int = 1) -> str:
        """Give the secret of the link in a mail."""
        return token_in(await self.deliver(account, purpose, times=times))

    async def run(self, payload: email_jobs.Payload) -> dict[str, str]:
        """Run a job."""
        return await self._mailer.send(testing.RecordingContext(), payload)


def token_in(message: EmailMessage) -> str:
    """Give the secret of the link in a mail."""
    text = message.get_body(("plain",))
    assert text is not None
    [found] = set(re.findall(r"token=(rpl_[A-Za-z0-9_-]{43})", text.get_content()))
    return str(found)


def new_email() -> str:
    """Make an address nobody has."""
    return f"ada-{secrets.token_hex(8)}@example.org"


def new_address() -> str:
    """Make an address, so that tests do not throttle each other."""
    # Not of `random`, which Hypothesis seeds.
    return f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"


@pytest.fixture(scope="session")
def engine(database: Callable[[str], AsyncEngine]) -> AsyncEngine:
    """The database as the auth service sees it."""
    return database("auth")


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """The keys for secrets at rest."""
    return Keyring({"b": b"B" * 32, "a": b"A" * 32})


@pytest.fixture(scope="session")
def post(engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory) -> Post:
    """Where mails are asked for and written."""
    path = tmp_path_factory.mktemp("mails")
    sender = folder.Folder(path, sender="Repruv <no-reply@example.org>", logs_links=False)
    return Post(email_handlers.EmailJobHandler(engine=engine, sender=sender, public_url=PUBLIC_URL), path)


@pytest.fixture(scope="session")
async def context(
    engine: AsyncEngine, nats_url: str, signer: Callable[[str], identity.Signer], keyring: Keyring, post: Post
) -> AsyncIterator[Context]:
    """What the operations stand on, with relay and bus running."""
    events = bus.Bus(nats_url, name="test-auth")
    events.owns_stream("auth")
    relay = outbox.Relay(engine, schema.outbox, {"auth.events.": events.publish, worker_outbox.PREFIX: post.submit})
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
            verification_period=VERIFICATION_PERIOD,
            relying_party=RelyingParty.from_url(PUBLIC_URL),
        )
    passwords.close()


@pytest.fixture(scope="session")
async def channel(context: Context, verifier: identity.Verifier) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service."""
    async with served(context, verifier) as opened:
        yield opened


@asynccontextmanager
async def served(context: Context, verifier: identity.Verifier) -> AsyncIterator[grpc.aio.Channel]:
    """Serve the services; gives a channel to them."""
    serving = server.serving(
        listen="127.0.0.1:0",
        services=[
            server.Service(
                name=servicer.SERVICE,
                register=partial(
                    auth_service_pb2_grpc.add_AuthServiceServicer_to_server, servicer.AuthServicer(context)
                ),
                callers=servicer.CALLERS,
            ),
            server.Service(
                name=admin_servicer.SERVICE,
                register=partial(
                    admin_service_pb2_grpc.add_AuthAdminServiceServicer_to_server,
                    admin_servicer.AuthAdminServicer(context, Effects({})),
                ),
                callers=admin_servicer.CALLERS,
            ),
            server.Service(
                name=passkey_servicer.SERVICE,
                register=partial(
                    passkey_service_pb2_grpc.add_PasskeyServiceServicer_to_server,
                    passkey_servicer.PasskeyServicer(context),
                ),
                callers=passkey_servicer.CALLERS,
            ),
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


@pytest.fixture
async def admin(gateway: Gateway, context: Context) -> Account:
    """An admin who has just signed in."""
    email, ip_address = new_email(), new_address()
    await seed.ensure_admin(context, email=email, password=PASSWORD)
    return await gateway.described(await gateway.login(email, ip_address=ip_address), ip_address)


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
