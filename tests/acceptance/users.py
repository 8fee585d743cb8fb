"""A user of the HTTP API."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Self

import httpx

from tests.acceptance import waiting

PASSWORD = "tulip-anvil-rowing"
BASE = "/api/v1"
REPEAT_SECONDS = 60.0
FINISHED = frozenset({"completed", "failed", "cancelled"})
# Statuses that a client may get while a part of the system is down; any other status is an answer.
AWAY = frozenset({502, 503, 504})
DEADLINE_EXCEEDED = 504


class User:
    """A user with an account and a session cookie, like a browser."""

    def __init__(self, url: str, *, email: str = "") -> None:
        self.email = email or f"user-{secrets.token_hex(6)}@example.com"
        self.user_id = ""
        self.http = httpx.AsyncClient(base_url=url, timeout=60.0)

    @classmethod
    async def register(cls, url: str) -> Self:
        """Register a new user. On a busy machine a request may end at its deadline: then register another one."""
        async with asyncio.timeout(REPEAT_SECONDS):
            while True:
                user = cls(url)
                account = {"email": user.email, "password": PASSWORD, "name": "Mina"}
                answer = await user.post("/auth/register", json=account)
                if answer.status_code not in AWAY:
                    break
                await user.close()
        assert answer.status_code == 201, answer.text
        user.user_id = answer.json()["user"]["user_id"]
        return user

    async def sign_in_again(self) -> User:
        """Return the same user in another browser, with a new session."""
        other = User(str(self.http.base_url), email=self.email)
        answer = await other.post("/auth/login", json={"email": self.email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        other.user_id = self.user_id
        return other

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request to a path below /api/v1, or to a full path that begins with /api/."""
        return await self.http.get(_whole(path), **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST request; paths are as for `get`."""
        return await self.http.post(_whole(path), **options)

    async def probe(self, path: str) -> dict[str, Any] | None:
        """GET an existing object; None while a part of the system is down."""
        try:
            answer = await self.get(path)
        except httpx.TransportError:
            return None
        if answer.status_code in AWAY:
            assert answer.headers["content-type"] == "application/problem+json", answer.text
            return None
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        body: dict[str, Any] = answer.json()
        return body

    async def enable(self, options: Mapping[str, object] | None = None, *, key: str = "") -> str:
        """Enable demo mode; return the id of the job."""
        return await self._start_job("/demo/enable", key, json=options or {"niche": "tech_reviews"})

    async def disable(self) -> str:
        """Disable demo mode; return the id of the job."""
        return await self._start_job("/demo/disable")

    async def wait_for_status(self, status: str, *, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until demo mode has a status; return it."""

        async def probe() -> dict[str, Any] | None:
            demo = await self.probe("/demo/status")
            return demo if demo and demo["status"] == status else None

        return await waiting.until(probe, f"demo mode is {status}", seconds=seconds)

    async def wait_for_job(self, job_id: str, *statuses: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a job has one of these statuses; return it."""

        async def probe() -> dict[str, Any] | None:
            job = await self.probe(f"/jobs/{job_id}")
            return job if job and job["status"] in statuses else None

        return await waiting.until(probe, f"job is {' or '.join(statuses)}", seconds=seconds)

    async def wait_for_interactions(self, at_least: int, *, seconds: float = 60.0) -> int:
        """Wait until a number of interactions is written; return the number."""

        async def probe() -> int | None:
            demo = await self.probe("/demo/status")
            count = demo["stats"]["interactions_written"] if demo else 0
            return count if count >= at_least else None

        return await waiting.until(probe, f"{at_least} interactions written", seconds=seconds)

    async def read_all(self, path: str, name: str) -> list[dict[str, Any]]:
        """Read all pages of a list; assert that each but the last is full."""
        items: list[dict[str, Any]] = []
        token = ""
        for _ in range(10_000):
            page = (await self.get(path, params={"page_size": 100, "page_token": token})).json()
            items += page[name]
            token = page["next_page_token"]
            if not token:
                return items
            assert len(page[name]) == 100
        raise AssertionError(f"{path} has no end")

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def _start_job(self, path: str, key: str = "", **options: Any) -> str:
        """Send a request that starts a job; return the id of the job. After a missed deadline it is sent again, with its key."""
        headers = {"Idempotency-Key": key or secrets.token_hex(8)}
        async with asyncio.timeout(REPEAT_SECONDS):
            while (answer := await self.post(path, headers=headers, **options)).status_code == DEADLINE_EXCEEDED:
                pass
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])


def _whole(path: str) -> str:
    return path if path.startswith("/api/") or path in {"/healthz", "/readyz"} else BASE + path
