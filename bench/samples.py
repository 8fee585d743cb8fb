"""Measured durations, their percentiles, and the rows of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table; durations in seconds."""

    name: str
    durations: Sequence[float]
    failed: int = 0
    """The number of failures."""
    limits: tuple[tuple[float, float], ...] = ()
    """Targets: pairs of a percentile (50, 99, 100) and its maximum duration."""

    @property
    def is_met(self) -> bool | None:
        """Whether every target is met without failures. None without targets."""
        if not self.limits:
            return None
        return not self.failed and all(percentile(self.durations, rank) <= limit for rank, limit in self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one measurement, and the notes for reading them."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def percentile(durations: Sequence[float], rank: float) -> float:
    """Return the percentile of durations by nearest rank, or NaN without durations."""
    if not durations:
        return math.nan
    ordered = sorted(durations)
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)]
