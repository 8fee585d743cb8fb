"""Geometry of the dashboard's charts: numbers in, rectangles out; the templates only draw them."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WEEK = 7
_GAP = 0.28
"""The part of each slot that stays empty."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One day or week: a rectangle in chart units, y growing downwards."""

    date: str
    until: str
    """The last day."""
    span: int
    """The number of days."""
    count: int
    before: int | None
    """The count of the same days of the period before; None if that is not known."""
    x: float
    y: float
    width: float
    height: float
    peak: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Bars on a scale from 0 to `ceiling`, in a box of `width` × `height` chart units."""

    width: float
    height: float
    ceiling: int
    total: int
    bars: tuple[Bar, ...]
    peak: Bar | None
    before: str
    """The path of the period before, a step for each day; empty if there is none."""
    total_before: int
    """The total of the period before."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One part of a whole: `share` is 0 to 1, `x` and `width` are in chart units."""

    name: str
    count: int
    share: float
    x: float
    width: float


def bar_chart(
    days: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]] = (),
    *,
    width: float = 600,
    height: float = 160,
) -> BarChart:
    """Return the chart of days or `weeks`, oldest first. `before` has those of the period before, as many or none."""
    counts = [max(0, int(day["count"])) for day in days]
    counts_before = [max(0, int(day["count"])) for day in before] if len(before) == len(days) else []
    highest = max(counts, default=0)
    ceiling = nice_ceiling(max([highest, *counts_before]))
    slot = width / len(counts) if counts else width
    bars = tuple(
        Bar(
            date=str(day["date"]),
            until=_until(day),
            span=_span(day),
            count=count,
            before=counts_before[position] if counts_before else None,
            x=round(position * slot + slot * _GAP / 2, 2),
            y=round(height - height * count / ceiling, 2),
            width=round(slot * (1 - _GAP), 2),
            height=round(height * count / ceiling, 2),
            peak=highest > 0 and position == counts.index(highest),
        )
        for position, (day, count) in enumerate(zip(days, counts, strict=True))
    )
    tops = [round(height - height * count / ceiling, 2) for count in counts_before]
    steps = [f"{round(at * slot, 2):g} {top:g}H{round((at + 1) * slot, 2):g}" for at, top in enumerate(tops)]
    return BarChart(
        width=width,
        height=height,
        ceiling=ceiling,
        total=sum(counts),
        bars=bars,
        peak=next((bar for bar in bars if bar.peak), None),
        before="M" + "L".join(steps) if steps else "",
        total_before=sum(counts_before),
    )


def weeks(days: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return days, oldest first, added up by weeks, `[{date, until, span, count, sentiment}]`; the oldest may be shorter."""
    first = len(days) % WEEK
    ends = range(first or WEEK, len(days) + 1, WEEK)
    return [_sum(days[max(0, end - WEEK) : end]) for end in ends]


def _sum(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sentiment: Counter[str] = Counter()
    for day in days:
        sentiment.update(day["sentiment"])
    return {
        "date": days[0]["date"],
        "until": days[-1]["date"],
        "span": len(days),
        "count": sum(int(day["count"]) for day in days),
        "sentiment": sentiment,
    }


def _until(day: Mapping[str, Any]) -> str:
    return str(day.get("until", day["date"]))


def _span(day: Mapping[str, Any]) -> int:
    return int(day.get("span", 1))


def ticks(days: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the dates at which equal parts of the days begin: each of a week, or six."""
    parts = len(days) if len(days) <= 7 else 6
    return [str(days[len(days) * part // parts]["date"]) for part in range(parts)]


def change(now: int, before: int) -> str:
    """Return how a number compares with the one before it: "12% more than", "as many as"; empty if that was 0."""
    if not before:
        return ""
    percent = round(100 * (now - before) / before)
    return f"{abs(percent):,}% {'more' if percent > 0 else 'fewer'} than" if percent else "as many as"


def share(days: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Return the share of a sentiment in all days, 0 to 1; None without interactions."""
    total = sum(int(day["count"]) for day in days)
    return sum(int(day["sentiment"][name]) for day in days) / total if total else None


def segments(counts: Mapping[Any, int], names: Iterable[str], *, width: float = 100) -> tuple[Segment, ...]:
    """Return the named counts side by side along `width`; names that are missing count as zero."""
    by_name = {str(name): int(count) for name, count in counts.items()}
    values = [(name, max(0, by_name.get(name, 0))) for name in names]
    total = sum(count for _, count in values)
    parts: list[Segment] = []
    before = 0
    for name, count in values:
        share = count / total if total else 0.0
        start = width * before / total if total else 0.0
        parts.append(Segment(name=name, count=count, share=share, x=round(start, 2), width=round(width * share, 2)))
        before += count
    return tuple(parts)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The parts of one day or week, on top of each other; none if there is no interaction."""

    date: str
    until: str
    span: int
    counts: Mapping[str, int]
    x: float
    width: float
    parts: tuple[tuple[str, float, float], ...]
    """Name, y and height in chart units, y growing downwards."""


def share_columns(
    days: Sequence[Mapping[str, Any]], names: Sequence[str], *, width: float = 600, height: float = 100
) -> tuple[Column, ...]:
    """Return the columns of days or `weeks`, oldest first, each as high as the chart; the first name is at the bottom."""
    slot = width / len(days) if days else width
    columns = []
    for position, day in enumerate(days):
        counts = {name: int(day["sentiment"][name]) for name in names}
        stacked = segments(counts, names, width=height)
        parts = tuple((c.name, round(height - c.x - c.width, 2), c.width) for c in stacked if c.count)
        x, slim = round(position * slot + slot * 0.14, 2), round(slot * 0.72, 2)
        columns.append(
            Column(
                date=str(day["date"]),
                until=_until(day),
                span=_span(day),
                counts=counts,
                x=x,
                width=slim,
                parts=parts,
            )
        )
    return tuple(columns)


def nice_ceiling(value: int) -> int:
    """Return the lowest even 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten that is not below `value`; at least 4.

    Even, so that the middle of the scale is a whole number too.
    """
    for exponent in itertools.count():
        for step in (10, 15, 20, 30, 40, 50, 60, 80):
            ceiling = step * 10**exponent // 10
            if ceiling >= max(4, value) and ceiling % 2 == 0:
                return int(ceiling)
    raise AssertionError("unreachable: the count never ends")
