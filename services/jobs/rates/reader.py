"""Reads rates for operators: totals and points of a time, of all kinds together and of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from services.jobs import domain, sql
from services.jobs.rates import histogram


class Span(StrEnum):
    """A time up to now."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


_STEPS = {Span.HOUR: ("minute", 60), Span.DAY: ("hour", 24), Span.WEEK: ("hour", 168)}
"""The stored span and the number of points."""
_SECONDS = {"minute": 60, "hour": 3600}

# The last point is the newest recorded minute, or the current hour.
_BEGINNING = """
SELECT CASE WHEN :step = 'minute' THEN coalesce(
    (SELECT max(begins_at) FROM jobs.kind_rates WHERE span = 'minute' AND kind = '*'), date_trunc('minute', now()))
    ELSE date_trunc('hour', now(), 'UTC') END - (:points - 1) * CAST('1 ' || :step AS interval)
"""
_READ_TIMES = sql.prepared(f"""
SELECT ({_BEGINNING}), coalesce((SELECT max(begins_at) + interval '1 minute' FROM jobs.kind_rates
    WHERE span = 'minute' AND kind = '*'), date_trunc('minute', now()))
""")
_POINTS = sql.prepared(f"""
SELECT kind, begins_at, completed, failed, cancelled, waiting, CASE WHEN kind = '{domain.ALL_KINDS}' THEN waits END
FROM jobs.kind_rates WHERE span = :step AND begins_at >= :since
""")
_DURATIONS = sql.prepared("""
SELECT r.kind, u.position::integer - 1, sum(u.wait)::integer, sum(u.run)::integer
FROM jobs.kind_rates r, unnest(r.waits, r.runs) WITH ORDINALITY u(wait, run, position)
WHERE r.span = :step AND r.begins_at >= :since AND (u.wait > 0 OR u.run > 0) GROUP BY 1, 2
""")


@dataclass(slots=True, kw_only=True)
class Point:
    """One step of a time."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    wait_p95: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class KindRates:
    kind: str
    points: list[Point]
    waits: list[int] = field(default_factory=lambda: [0] * histogram.BUCKETS)
    runs: list[int] = field(default_factory=lambda: [0] * histogram.BUCKETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    total: KindRates
    kinds: Sequence[KindRates]
    begins_at: datetime
    ends_at: datetime
    """The end of the newest recorded minute."""
    step: timedelta


class Reader:
    """Reads what the recorder wrote."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)

    async def read(self, span: Span) -> Rates:
        """Return the rates of a time; steps without rows have zeros."""
        step, points = _STEPS[span]
        async with self._single.connect() as conn:
            ((begins_at, ends_at),) = await _READ_TIMES.execute(conn, {"step": step, "points": points})
            parameters = {"step": step, "since": begins_at}
            rows = await _POINTS.execute(conn, parameters)
            durations = await _DURATIONS.execute(conn, parameters)
        by_kind: dict[str, KindRates] = {}
        for kind, moment, completed, failed, cancelled, waiting, waits in rows:
            position = int((moment - begins_at).total_seconds()) // _SECONDS[step]
            if 0 <= position < points:
                _rates_of_kind(by_kind, kind, points).points[position] = Point(
                    completed=completed,
                    failed=failed,
                    cancelled=cancelled,
                    waiting=waiting,
                    wait_p95=histogram.percentile(waits, 0.95) if waits else None,
                )
        for kind, bucket, wait_count, run_count in durations:
            rates = _rates_of_kind(by_kind, kind, points)
            rates.waits[bucket], rates.runs[bucket] = wait_count, run_count
        total = by_kind.pop(domain.ALL_KINDS, None) or _rates_of_kind({}, domain.ALL_KINDS, points)
        return Rates(
            total=total,
            kinds=[by_kind[kind] for kind in sorted(by_kind)],
            begins_at=begins_at,
            ends_at=ends_at,
            step=timedelta(seconds=_SECONDS[step]),
        )


def _rates_of_kind(by_kind: dict[str, KindRates], kind: str, points: int) -> KindRates:
    if kind not in by_kind:
        by_kind[kind] = KindRates(kind=kind, points=[Point() for _ in range(points)])
    return by_kind[kind]
