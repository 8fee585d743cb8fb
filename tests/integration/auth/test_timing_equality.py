"""Known, disabled and unknown addresses cost the same hashes and statements, so timing does not reveal accounts."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import sqlalchemy as sa

from chassis import postgres
from services.auth import domain
from services.auth.accounts.operations import Accounts
from services.auth.accounts.recovery import Recovery
from services.auth.context import Context
from services.auth.passwords import Passwords
from services.auth.sign_in.operations import SignIn
from tests.integration.auth.client import PASSWORD, Gateway, new_address, new_email
from tests.integration.auth.conftest import MEMORY_KIB

WRONG = "not-the-password-at-all"
Call = Callable[["Work", str], Awaitable[None]]


class Counted(Passwords):
    """Password hashing that records each hash."""

    def __init__(self) -> None:
        super().__init__(memory_kib=MEMORY_KIB)
        self.hashes: list[str] = []

    async def hash(self, password: str, *, until: float | None = None) -> str:
        """Record the call."""
        self.hashes.append("hash")
        return await super().hash(password, until=until)

    async def verify(self, stored: str | None, password: str, *, until: float | None = None) -> bool:
        """Record the call."""
        self.hashes.append("verify")
        return await super().verify(stored, password, until=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A context with an engine of its own, and the recorded work."""

    context: Context
    passwords: Counted
    statements: list[str] = field(default_factory=list)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record the work inside the block."""

        def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.statements.append(statement)

        engine = self.context.engine.sync_engine
        self.statements.clear()
        self.passwords.hashes.clear()
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            yield
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
async def work(context: Context, database_url: Callable[[str], str]) -> AsyncIterator[Work]:
    """Yield a context whose work is recorded; the relay uses another engine."""
    engine = postgres.engine(database_url("auth"), name="test-auth-work", pool_size=4)
    passwords = Counted()
    changed = replace(context, engine=engine, passwords=passwords, is_registration_open=False)
    yield Work(context=changed, passwords=passwords)
    passwords.close()
    await engine.dispose()


def somewhere() -> domain.Client:
    return domain.Client(user_agent="", ip_address=new_address())


async def wrong(work: Work, email: str) -> None:
    with pytest.raises(domain.InvalidCredentials):
        await SignIn(work.context).login(email=email, password=WRONG, client=somewhere())


async def right_if_it_were_open(work: Work, email: str) -> None:
    password = PASSWORD if "closed" in email else WRONG
    with pytest.raises(domain.InvalidCredentials):
        await SignIn(work.context).login(email=email, password=password, client=somewhere())


async def forgot(work: Work, email: str) -> None:
    await Recovery(work.context).request_reset(email=email, client=somewhere())


async def register(work: Work, email: str) -> None:
    accounts = Accounts(work.context)
    assert await accounts.register(email=email, password=PASSWORD, name="", client=somewhere()) is None


@pytest.mark.parametrize(
    ("call", "hashes"),
    [(wrong, ["verify"]), (right_if_it_were_open, ["verify"]), (forgot, []), (register, ["hash"])],
)
async def test_known_disabled_and_unknown_addresses_cost_the_same_work(
    gateway: Gateway, work: Work, sql: Any, call: Call, hashes: list[str]
) -> None:
    known_email, closed = new_email(), f"closed-{uuid.uuid4().hex[:12]}@example.org"
    for email in (known_email, closed):
        await gateway.register(email, ip_address=new_address())
    await sql("UPDATE auth.users SET disabled_at = now() WHERE email = :email", email=closed)
    done = []
    for email in (known_email, closed, new_email()):
        with work.noted():
            await call(work, email)
        assert work.passwords.hashes == hashes
        done.append(list(work.statements))
    assert done[0] == done[1] == done[2]
