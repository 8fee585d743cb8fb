"""A user who performs random operations on demo mode and checks the visible state in between."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from typing import Any

import httpx

from tests.acceptance.users import AWAY, User

REFUSALS = frozenset({404, 409})


class Actor:
    """Acts for one user; one action at a time."""

    def __init__(self, user: User, seed: int) -> None:
        self.user = user
        self.accepted: set[str] = set()
        """Jobs that were promised."""
        self.answers: Counter[str] = Counter()
        self._random = random.Random(seed)

    async def act(self, stop: asyncio.Event) -> None:
        """Act until `stop` is set."""
        while not stop.is_set():
            await self._check()
            await self._choose()
            await asyncio.sleep(self._random.uniform(0.2, 3.0))

    async def _choose(self) -> None:
        job_id = self._random.choice(sorted(self.accepted)) if self.accepted else ""
        newest = max(self.accepted, default="")
        actions = ["enable", "enable", "disable", "dismiss", "cancel", "retry", "retry any", "click twice"]
        match self._random.choice(actions):
            case "enable":
                await self._post("/demo/enable", json=self._wish())
            case "disable":
                await self._post("/demo/disable")
            case "dismiss":
                await self._post("/demo/dismiss")
            case "cancel" if newest:
                await self._post(f"/jobs/{newest}/cancel")
            case "retry" if newest:
                await self._post(f"/jobs/{newest}/retry")
            case "retry any" if job_id:
                await self._post(f"/jobs/{job_id}/retry")
            case "click twice":
                # Seeds must not decide the key: it would be the same in every run of one database.
                options = {"json": self._wish(), "headers": {"Idempotency-Key": secrets.token_urlsafe(12)}}
                await asyncio.gather(*(self._post("/demo/enable", **options) for _ in range(2)))

    async def _post(self, path: str, **options: Any) -> None:
        try:
            answer = await self.user.post(path, **options)
        except httpx.TransportError:
            self.answers["broken"] += 1
            return
        self.answers[str(answer.status_code)] += 1
        expected = answer.status_code in REFUSALS | AWAY | {200, 202}
        assert expected, f"{path}: {answer.status_code} {answer.text}"
        if answer.status_code == 202 and "/demo/" in path:
            self.accepted.add(answer.json()["job_id"])

    async def _check(self) -> None:
        """Rows are visible if and only if demo mode is enabled, as far as nothing moved between two looks at it."""
        before = await self.user.probe("/demo/status")
        rows = await self.user.probe("/interactions?page_size=1")
        after = await self.user.probe("/demo/status")
        if not (before and rows and after) or before["version"] != after["version"]:
            return
        is_enabled = after["status"] == "enabled"
        assert bool(rows["interactions"]) == is_enabled, (rows, after)
        assert after["demo_mode"] == is_enabled

    def _wish(self) -> dict[str, object]:
        return {"content_count": self._random.choice([1, 60]), "interaction_count": self._random.choice([1, 300, 1500])}
