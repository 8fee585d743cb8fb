"""The users, the pages they load, and the history of the system under test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.system import System, User, running
from dev import Stack, subprocesses
from dev.launcher import fake_provider as local_provider

DEMO_OPTIONS = {"profile_type": "creator", "niche": "travel"}  # 60 items and 2,000 interactions by default
SMALL = {"niche": "food", "content_count": 2, "interaction_count": 10}
LONG = {"niche": "travel", "interaction_count": 100_000}
ROUNDS = 12
"""Earlier enables and disables: two pages of jobs and of notifications."""
PAUSE_MS = "1000"
"""A hundred rows per second from here on: `LONG` takes more than 15 minutes."""
ADMIN = ("jobs", "errors", "kinds", "schedules", "stuck", "workers", "users", "security-events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    name: str
    path: str
    cookie: str = ""
    """The cookies of a sign-in, `name=value; name=value`; empty when signed out."""

    def other_sessions(self, sessions: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Return further sessions of the same user. `sessions` maps the first session of each user to them."""
        return sessions.get(self.cookie, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    veteran: User
    """Demo mode is enabled, with earlier jobs and notifications."""
    newcomer: User
    """A new user without data."""
    waiting: User
    """Demo mode is being enabled during the whole measurement."""
    admin: User
    job_id: str
    """The last ended job of the veteran."""
    running_id: str
    """The running job of the waiting user."""

    def pages(self) -> list[Page]:
        """Return every page, those of running jobs first."""

        def pages_of(user: User, *paths: str) -> list[Page]:
            return [Page(name=path, path=path, cookie=user.cookie) for path in paths]

        moving = [
            Page(name="/settings/demo-mode, enabling", path="/settings/demo-mode", cookie=self.waiting.cookie),
            Page(name="/jobs/{id}, running", path=f"/jobs/{self.running_id}", cookie=self.waiting.cookie),
        ]
        ended = [
            Page(name="/settings/demo-mode, idle", path="/settings/demo-mode", cookie=self.newcomer.cookie),
            Page(name="/settings/demo-mode, enabled", path="/settings/demo-mode", cookie=self.veteran.cookie),
            Page(name="/jobs/{id}, completed", path=f"/jobs/{self.job_id}", cookie=self.veteran.cookie),
        ]
        settings = [f"/settings/{name}" for name in ("profile", "notifications", "connections", "security", "sessions")]
        return [
            *moving,
            *(Page(name=path, path=path) for path in ("/", "/login", "/register", "/forgot-password")),
            Page(name="/reset-password", path=f"/reset-password?token={'t' * 43}"),
            *pages_of(self.veteran, "/dashboard", "/jobs", "/notifications", *settings, "/reauthenticate"),
            *ended,
            *pages_of(self.admin, "/admin", *(f"/admin/{name}" for name in ADMIN)),
            Page(name="/admin/users/{id}", path=f"/admin/users/{self.veteran.user_id}", cookie=self.admin.cookie),
        ]


@contextlib.contextmanager
def running_system() -> Iterator[Stack]:
    """Start the system with a fake provider."""
    port = subprocesses.free_port()
    with local_provider.running(port) as platforms, running(gateway_port=port, env=platforms) as stack:
        yield stack


async def prepare_users(system: System) -> Users:
    """Create the users and their history."""
    veteran, newcomer, waiting, admin = await system.sign_up(4)
    for _ in range(ROUNDS):
        await system.enable(veteran, SMALL)
        await system.quiet()
        await system.disable(veteran)
        await system.quiet()
    job_id = await system.enable(veteran, DEMO_OPTIONS)
    await system.quiet()
    async with await system.connect_database() as conn:
        await conn.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", [admin.user_id])
    await asyncio.to_thread(system.stack.restart, "demo-worker", env={"DEMO_BATCH_PAUSE_MS": PAUSE_MS})
    running_id = await system.enable(waiting, LONG)
    return Users(veteran=veteran, newcomer=newcomer, waiting=waiting, admin=admin, job_id=job_id, running_id=running_id)
