"""The size of the next batch of jobs, by the time of the last one: a job may have no row elsewhere, or 20,000 log lines."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.errors import QueryCanceled
from sqlalchemy.exc import DBAPIError

FAST_SECONDS, SLOW_SECONDS = 0.25, 1.0
"""Shorter than the first a batch may be doubled, longer than the second it is halved."""


@dataclass(slots=True)
class BatchSize:
    """Up to `limit` jobs are in the next batch; it grows up to `most`."""

    limit: int
    most: int

    def adapt(self, seconds: float) -> None:
        """Choose the next size by the time of the last batch."""
        if seconds > SLOW_SECONDS:
            self.limit = max(1, self.limit // 2)
        elif seconds < FAST_SECONDS:
            self.limit = min(self.most, self.limit * 2)

    def shrink_after(self, error: DBAPIError) -> None:
        """Make the next batch much smaller after one that was too large for a statement. Raises every other error."""
        if not isinstance(error.orig, QueryCanceled) or self.limit == 1:
            raise error
        self.shrink()

    def shrink(self) -> None:
        """Make the next batch much smaller."""
        self.limit = max(1, self.limit // 8)
