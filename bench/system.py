"""The system under test with its own servers and data, and the users that load it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from bench import http, load
from bench.events import Events
from dev import Stack

SETTINGS = {
    # Accounts are created before the measurement; at full strength each would take 0.1 s.
    "PASSWORD_MEMORY_KIB": "64",
    "REGISTRATIONS_PER_ADDRESS": "1000000",
    # All load comes from one address, some of it from one user.
    "RATE_LIMIT_USER": "off",
    "RATE_LIMIT_NETWORK": "off",
    "RATE_LIMIT_SIGN_IN": "off",
    "LOG_FORMAT": "json",
}
"""The differences to `make up`. Everything else, durability above all, is as delivered."""

DEMO_OPTIONS = {"profile_type": "creator", "niche": "gaming", "content_count": 2, "interaction_count": 10}
"""Little data: what is measured is the operation, so the worker must leave the processors free."""
REGISTRATIONS_AT_ONCE = 8
REGISTRATION_TRIES = 60
BUSY = (429, 503, 504)
"""Statuses with which the gateway refuses, or gives up, what the machine is too busy for."""
QUIET_SECONDS = 120.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    user_id: str
    cookie: str
    account: Mapping[str, str] = field(default_factory=dict, repr=False)
    """E-mail address and password."""


class System:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = http.Client(stack.url)

    async def sign_up(self, count: int) -> list[User]:
        """Register users and sign them in. The gateway caches their sessions for a minute."""
        users: list[User] = []

        async def register(_: int) -> None:
            account, answer = await self._register()
            cookie = "; ".join(answer.cookies)
            users.append(User(user_id=answer.json()["user"]["user_id"], cookie=cookie, account=account))

        await load.each(register, count=count, at_once=REGISTRATIONS_AT_ONCE)
        return users

    async def _register(self) -> tuple[dict[str, str], http.Answer]:
        """Register an account, another one while the machine is too busy to hash its password."""
        for _ in range(REGISTRATION_TRIES):
            account = {"email": f"{secrets.token_hex(8)}@example.com", "password": secrets.token_urlsafe(16)}
            try:
                return account, await self.http.request("POST", "/api/v1/auth/register", expected=201, body=account)
            except http.UnexpectedStatus as refused:
                if refused.answer.status not in BUSY:
                    raise
                await asyncio.sleep(float(refused.answer.headers["retry-after"]))
        raise TimeoutError("the machine is too busy to hash passwords")

    async def sign_in(self, user: User) -> User:
        """Sign the user in to a new session."""
        answer = await self.http.request("POST", "/api/v1/auth/login", expected=200, body=user.account)
        return replace(user, cookie="; ".join(answer.cookies))

    async def enable(self, user: User, options: Mapping[str, Any]) -> str:
        """Enable demo mode. Return the id of the job."""
        return await self._accepted("/api/v1/demo/enable", user, options)

    async def disable(self, user: User) -> str:
        """Disable demo mode. Return the id of the job."""
        return await self._accepted("/api/v1/demo/disable", user, None)

    @contextlib.asynccontextmanager
    async def watch(self, user: User) -> AsyncIterator[Events]:
        """Open an event stream of the user."""
        events = Events()
        try:
            await events.open(self.http, user.cookie)
            yield events
        finally:
            events.close()

    async def finished(self) -> float:
        """Wait until every accepted operation has ended. Return the seconds waited."""
        return await self._wait_until_none("""
            SELECT (SELECT count(*) FROM demo.demo_modes WHERE state IN ('enabling', 'disabling'))
                 + (SELECT count(*) FROM jobs.jobs WHERE finished_at IS NULL)
        """)

    async def quiet(self) -> float:
        """Wait until no job is active and every outbox is empty. Return the seconds waited."""
        return await self._wait_until_none("""
            SELECT (SELECT count(*) FROM jobs.jobs WHERE finished_at IS NULL) + (SELECT count(*) FROM jobs.outbox)
                 + (SELECT count(*) FROM demo.outbox)
        """)

    async def _wait_until_none(self, count: LiteralString) -> float:
        began = time.perf_counter()
        async with asyncio.timeout(QUIET_SECONDS), await self.connect_database() as conn:
            while await _number(conn, count) > 0:  # noqa: ASYNC110 - the database has no event for it
                await asyncio.sleep(POLL_SECONDS)
        return time.perf_counter() - began

    async def connect_database(self) -> psycopg.AsyncConnection:
        """Connect to PostgreSQL as superuser in autocommit mode."""
        return await psycopg.AsyncConnection.connect(self.stack.database_url(), autocommit=True, connect_timeout=5)

    async def _accepted(self, path: str, user: User, body: Mapping[str, Any] | None) -> str:
        answer = await self.http.request("POST", path, expected=202, cookie=user.cookie, body=body)
        return str(answer.json()["job_id"])


async def _number(conn: psycopg.AsyncConnection, query: LiteralString) -> int:
    row = await (await conn.execute(query)).fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def running(
    *,
    gateway_port: int = 0,
    env: Mapping[str, str] | None = None,
    scale: Mapping[str, int] | None = None,
    variant: Callable[[str, int], Mapping[str, str]] | None = None,
    forks: bool = False,
) -> Iterator[Stack]:
    """Start the system on empty servers with `SETTINGS` and `env`, and delete everything afterwards.

    `variant` and `forks` are those of `Stack`.
    """
    with tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory:
        settings = {**SETTINGS, **(env or {})}
        stack = Stack(
            Path(directory), gateway_port=gateway_port, env=settings, scale=scale, variant=variant, forks=forks
        )
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
            if hasattr(stack, "servers"):
                stack.servers.erase()
