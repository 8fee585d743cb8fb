"""The pace of replays: missed events cost a read and encoding each, in the event loop that all streams share."""

from __future__ import annotations

import asyncio

EVENTS_PER_SECOND = 1_000
"""Of one user. They take about a tenth of a processor."""
FREE_EVENTS = 5_000
"""That a user may have replayed at once: the longest replay."""
MAX_USERS = 10_000
"""Users with a replay within the last seconds; beyond them the one with the oldest replay is forgotten."""


class ReplayPace:
    """How long the next replay of each user has to wait."""

    def __init__(self) -> None:
        # The loop's time at which the pace has caught up with the replays of each user.
        self._caught_up_at: dict[str, float] = {}

    def delay(self, user_id: str) -> float:
        """Return the seconds until a further replay of a user may begin; 0: now."""
        caught_up_at = self._caught_up_at.get(user_id)
        if caught_up_at is None:
            return 0.0
        left = caught_up_at - asyncio.get_running_loop().time()
        if left <= 0:
            del self._caught_up_at[user_id]
        return max(0.0, left - FREE_EVENTS / EVENTS_PER_SECOND)

    def count(self, user_id: str, events: int) -> None:
        """Count events that were read for a user."""
        now = asyncio.get_running_loop().time()
        caught_up_at = max(now, self._caught_up_at.pop(user_id, now)) + events / EVENTS_PER_SECOND
        while len(self._caught_up_at) >= MAX_USERS:
            del self._caught_up_at[next(iter(self._caught_up_at))]
        self._caught_up_at[user_id] = caught_up_at
