"""Sends tokens to a gateway all the time while it accepts them, so that validations are running whenever a session ends."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Self

from tests.acceptance import waiting
from tests.security import users

CONCURRENCY = 4
PAUSE_SECONDS = 0.005
"""After each refusal, to leave the processor to the gateways. While tokens are accepted, validations run all the time."""
_MIN_REFUSALS = 3
"""How often each token must have been refused."""


class TokenWatch:
    """Sends requests to one gateway while the context lasts."""

    def __init__(self, url: str, tokens: Sequence[str]) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._tokens = tokens
        self._must_refuse = False
        self._refused: Counter[str] = Counter()
        self._accepted_after_revocation: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        turns = itertools.cycle(self._tokens)
        self._tasks = [asyncio.create_task(self._send(turns)) for _ in range(CONCURRENCY)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        assert not self._accepted_after_revocation

    def require_refusals(self) -> None:
        """Require that no request from now on is accepted: the call that ended the sessions has returned."""
        self._must_refuse = True

    async def wait_for_status(self, *statuses: int, seconds: float = 20.0) -> None:
        """Wait for an answer with one of these statuses."""

        async def probe() -> bool:
            return any(self.statuses[status] for status in statuses)

        await waiting.until(probe, f"{self._url} answers {statuses}", seconds=seconds)

    async def wait_until_refused(self, *, seconds: float = 20.0) -> None:
        """Wait until every token has been refused repeatedly; none may be accepted afterwards."""

        async def probe() -> bool:
            return all(self._refused[token] >= _MIN_REFUSALS for token in self._tokens)

        await waiting.until(probe, f"{self._url} refuses all tokens", seconds=seconds)

    async def _send(self, turns: itertools.cycle[str]) -> None:
        async with users.at(self._url) as http:
            while True:
                token = next(turns)
                is_dead = self._must_refuse or bool(self._refused[token])
                answer = await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code in {200, 401, 503, 504}, answer.text
                self.statuses[answer.status_code] += 1
                if answer.status_code == 401:
                    self._refused[token] += 1
                elif answer.status_code == 200 and is_dead:
                    self._accepted_after_revocation.append(token)
                if answer.status_code != 200:
                    await asyncio.sleep(PAUSE_SECONDS)
