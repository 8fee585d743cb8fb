"""Durations as counts of 48 buckets, two per doubling, from 1 ms to 4.6 hours.

Histograms can be added, and their sum still has percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

BUCKETS = 48
_PER_DOUBLING = 2


def bucket(interval: str) -> str:
    """Return the SQL of the bucket of an interval, from 0; NULL for NULL."""
    milliseconds = f"greatest(extract(epoch FROM {interval}) * 1000, 1)"
    return f"least(floor({_PER_DOUBLING} * log(2, {milliseconds})), {BUCKETS - 1})::integer"


def percentile(counts: Sequence[int], share: float) -> timedelta | None:
    """Return a percentile: the middle of its bucket, at most a fifth away; None without durations."""
    rank = share * sum(counts)
    if not rank:
        return None
    cumulative = 0
    for position, count in enumerate(counts):
        cumulative += count
        if cumulative >= rank:
            return timedelta(milliseconds=2 ** ((position + 0.5) / _PER_DOUBLING))
    raise AssertionError("unreachable: all durations were counted")
