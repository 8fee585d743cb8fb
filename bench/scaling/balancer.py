"""A load balancer in front of several gateways, and a client that repeats its requests."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from bench import http
from bench.system import User

PATH = "/api/v1/demo/enable"
REPEATS = 5
PAUSE_SECONDS = 0.5
AWAY = frozenset({502, 503, 504})
"""Answers after which a request is sent again."""


class Balancer:
    """Enables demo mode at the gateways in rotation, one after the other."""

    def __init__(self, urls: Sequence[str], *, in_rotation: int = 1) -> None:
        self.rotation = list(range(in_rotation))
        """The indexes of the gateways that get requests."""
        self.accepted: dict[str, str] = {}
        """The job of each idempotency key."""
        self.repeated: list[str] = []
        """Why requests were sent again: lost connections, and answers of `AWAY`."""
        self._clients = [http.Client(url) for url in urls]
        self._turns = itertools.count()

    async def enable(self, user: User, options: Mapping[str, Any]) -> None:
        """Enable demo mode; repeat the request with the same key until it is answered. Raises the last error."""
        key = str(uuid.uuid4())
        for attempt in itertools.count(1):
            index = self.rotation[next(self._turns) % len(self.rotation)]
            try:
                answer = await self._clients[index].request(
                    "POST", PATH, expected=202, cookie=user.cookie, body=options, headers={"Idempotency-Key": key}
                )
            except (OSError, http.UnexpectedStatus) as error:
                if (isinstance(error, http.UnexpectedStatus) and error.answer.status not in AWAY) or attempt > REPEATS:
                    raise
                self.repeated.append(f"gateway {index + 1}: {error!r}")
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.accepted[key] = answer.json()["job_id"]
                return
