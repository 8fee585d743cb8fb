"""Geometry of sparklines: numbers in, paths of an SVG out; the templates only draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEIGHT = 24
STEP = 4
_GAP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Bars of two parts, one on the other."""

    width: int
    good: str
    """The path of what completed."""
    bad: str
    """The path of what failed, on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line and the area below it."""

    width: int
    line: str
    area: str


def bars(points: Sequence[Mapping[str, Any]]) -> Bars:
    """Return the bars of rates, oldest first; a count above 0 is at least one unit high."""
    highest = max((point["completed"] + point["failed"] for point in points), default=0)
    good: list[str] = []
    bad: list[str] = []
    for position, point in enumerate(points):
        x, y = position * STEP, HEIGHT
        for count, path in ((point["completed"], good), (point["failed"], bad)):
            if count:
                height = max(1, round((HEIGHT - 1) * count / highest))
                y = max(0, y - height)
                path.append(f"M{x} {y}h{STEP - _GAP}v{height}h-{STEP - _GAP}z")
    return Bars(width=max(1, len(points)) * STEP, good="".join(good), bad="".join(bad))


def line(values: Sequence[float | None]) -> Line:
    """Return the line of values, oldest first; None counts as 0."""
    numbers = [value or 0.0 for value in values]
    highest = max(numbers, default=0.0)
    width = max(1, len(numbers) - 1) * STEP
    tops = [round((HEIGHT - 2) * (1 - number / highest), 1) + 1 if highest else HEIGHT - 1 for number in numbers]
    path = "L".join(f"{position * STEP} {top:g}" for position, top in enumerate(tops))
    if not path:
        return Line(width=width, line="", area="")
    return Line(width=width, line=f"M{path}", area=f"M0 {HEIGHT}L{path}L{(len(tops) - 1) * STEP} {HEIGHT}z")
