"""Polls as a user, and fails on an inconsistent state."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from tests.acceptance.users import User

PAUSE_SECONDS = 0.2
"""Between two rounds of four requests. A shorter pause would take a third of a core from the system under test."""
STATUSES = ("disabled", "enabling", "enabled")
"""The statuses of demo mode while it is enabled, in their order."""


class ConsistencyWatch:
    """Looks at the status, the rows and the numbers in turn, while the context lasts; fails at its end.

    Each round looks at the status before and after: what was seen between must fit one of them. Begin it before the state
    moves; demo mode must go one way only, from disabled to enabled.
    """

    def __init__(self, user: User, *, interactions: int, content: int = 60) -> None:
        self.rounds = 0
        self.unanswered = 0
        self.statuses: list[str] = []
        """The statuses in the order in which they were first seen."""
        self.progress: list[int] = []
        self._user = user
        self._interactions = interactions
        self._content = content
        self._versions: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._look_around()
        self._looking = asyncio.create_task(self._look_for_ever())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._looking is not None
        self._looking.cancel()
        outcome = (await asyncio.gather(self._looking, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            raise outcome
        if kind is None:
            await self._look_around()
        print(f"\n  watched {self.rounds} rounds, {self.unanswered} unanswered, saw {self.statuses}")

    async def _look_for_ever(self) -> None:
        while True:
            await self._look_around()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look_around(self) -> None:
        before = await self._status()
        rows = await self._user.probe("/interactions?page_size=5")
        numbers = await self._user.probe("/metrics/dashboard")
        after = await self._status()
        self.rounds += 1
        if before is None or rows is None or numbers is None or after is None:
            self.unanswered += 1
        else:
            self._judge(before, rows, numbers, after)

    async def _status(self) -> dict[str, Any] | None:
        status = await self._user.probe("/demo/status")
        if status is None:
            return None
        assert status["version"] >= self._versions.get("demo", 0), "the version of demo mode fell"
        self._versions["demo"] = status["version"]
        if not self.statuses or self.statuses[-1] != status["status"]:
            self.statuses.append(status["status"])
        if progress := status["progress"]:
            assert 0 <= progress["percent"] <= 100
            assert progress["done"] <= (progress["total"] or progress["done"])
            self.progress.append(progress["percent"])
        assert status["demo_mode"] == (status["status"] == "enabled")
        assert self._is_known_way(), self.statuses
        return status

    def _is_known_way(self) -> bool:
        """Return whether demo mode went one way. A round that a busy machine or an outage delays misses a status."""
        return self.statuses == [status for status in STATUSES if status in self.statuses]

    def _judge(
        self, before: dict[str, Any], rows: dict[str, Any], numbers: dict[str, Any], after: dict[str, Any]
    ) -> None:
        visible = len(rows["interactions"])
        counts = (numbers["interaction_count"], numbers["content_count"])
        if after["status"] != "enabled":
            assert visible == 0, "rows were visible before demo mode was enabled"
            assert counts == (0, 0), "numbers were shown before demo mode was enabled"
        if before["status"] == "enabled":
            assert visible == min(5, self._interactions), "demo mode is enabled, and rows are missing"
            assert counts == (self._interactions, self._content), "demo mode is enabled, and the numbers are not whole"
        assert counts in {(0, 0), (self._interactions, self._content)}
