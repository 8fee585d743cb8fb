"""The users, the pages they load, and the history of the system under test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.system import System, User, running
from dev import Stack, subprocesses
from dev.launcher import fake_provider as local_provider

WISH = {"profile_type": "creator", "niche": "travel"}  # and so 60 items and 2,000 interactions
SMALL = {"niche": "food", "content_count": 2, "interaction_count": 10}
LONG = {"niche": "travel", "interaction_count": 100_000}
ROUNDS = 12
"""So often demo mode was enabled and disabled before: two pages of jobs and of notifications."""
PAUSE_MS = "1000"
"""From here on a hundred rows take a second, so that `LONG` takes more than a quarter of an hour."""
ADMIN = ("jobs", "kinds", "schedules", "stuck", "workers", "users", "security-events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, as somebody sees it."""

    name: str
    path: str
    cookie: str = ""
    """`name=value` of the session; empty: nobody is signed in."""

    @property
    def status(self) -> int:
        """With which status it answers: the front door leads on."""
        return 303 if self.path == "/" else 200

    def other_sessions(self, sessions: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Give more sessions of the same person, of those that `sessions` has for the first session of each."""
        return sessions.get(self.cookie, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Everybody."""

    veteran: User
    """Demo mode is on, with jobs and notifications before it."""
    newcomer: User
    """Nothing has happened yet."""
    waiting: User
    """Demo mode is being enabled, for as long as anybody looks."""
    admin: User
    job_id: str
    """The job of the veteran that has ended last."""
    running_id: str
    """The job that the waiting one waits for."""

    def pages(self) -> list[Page]:
        """Every page; those of what is under way come first."""

        def of(user: User, *paths: str) -> list[Page]:
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
        settings = [f"/settings/{name}" for name in ("connections", "security", "sessions")]
        return [
            *moving,
            *(Page(name=path, path=path) for path in ("/", "/login", "/register", "/forgot-password")),
            Page(name="/reset-password", path=f"/reset-password?token={'t' * 43}"),
            *of(self.veteran, "/dashboard", "/jobs", "/notifications", *settings, "/reauthenticate"),
            *ended,
            *of(self.admin, *(f"/admin/{name}" for name in ADMIN)),
            Page(name="/admin/users/{id}", path=f"/admin/users/{self.veteran.user_id}", cookie=self.admin.cookie),
        ]


@contextlib.contextmanager
def running_system() -> Iterator[Stack]:
    """Start the system, with a platform to connect."""
    port = subprocesses.free_port()
    with local_provider.running(port) as platforms, running(gateway_port=port, env=platforms) as stack:
        yield stack


async def prepare_users(system: System) -> Users:
    """Make everybody, and let the past happen."""
    veteran, newcomer, waiting, admin = await system.sign_up(4)
    for _ in range(ROUNDS):
        await system.enable(veteran, SMALL)
        await system.quiet()
        await system.disable(veteran)
        await system.quiet()
    job_id = await system.enable(veteran, WISH)
    await system.quiet()
    async with await system.connect_database() as conn:
        await conn.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", [admin.user_id])
    await asyncio.to_thread(system.stack.restart, "demo-worker", env={"DEMO_BATCH_PAUSE_MS": PAUSE_MS})
    running_id = await system.enable(waiting, LONG)
    return Users(veteran=veteran, newcomer=newcomer, waiting=waiting, admin=admin, job_id=job_id, running_id=running_id)
