"""Measured durations, their percentiles, and the rows of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; durations are in seconds."""

    name: str
    durations: Sequence[float]
    failed: int = 0
    """How many have no duration since they failed."""
    limits: tuple[tuple[float, float], ...] = ()
    """What we aim at: pairs of a percentile (50, 99, 100) and the duration it should not exceed."""

    @property
    def is_met(self) -> bool | None:
        """Whether every aim is met, and nothing failed; None if there is no aim."""
        if not self.limits:
            return None
        return not self.failed and all(percentile(self.durations, rank) <= limit for rank, limit in self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one measurement, with what has to be known to read them."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def percentile(durations: Sequence[float], rank: float) -> float:
    """Give the smallest duration that `rank` percent do not exceed (nearest rank); not a number if there is none."""
    if not durations:
        return math.nan
    ordered = sorted(durations)
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)]
