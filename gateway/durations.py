"""Durations and relative times in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

_NONE = "–"
_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
_AHEAD = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h: two units at most."""
    if seconds is None:
        return _NONE
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "less than 0.1 s"
    return _two_units(round(seconds), lambda count, unit: f"{count} {unit}")


def brief(seconds: float | None) -> str:
    """42 ms, 1.2 s, 48 s, 3m 20s, 2h 5m, 3d 4h: for tables."""
    if seconds is None:
        return _NONE
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return _two_units(round(seconds), lambda count, unit: f"{count}{unit[0]}")


def age(moment: str | None, now: datetime | None = None) -> str:
    """Return how long ago a time is, as `brief`, in whole seconds: "0 s", "48 s", "3m 20s"."""
    if not moment:
        return _NONE
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    return f"{max(0, int(seconds))} s" if seconds < 60 else brief(int(seconds))


def between(begin: str | None, end: str | None) -> float | None:
    """Return the seconds from one ISO time to another; None if one is missing."""
    if not begin or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def left(end: str | None, now: datetime | None = None) -> str:
    """Return the remaining time in words: "about 20 s left"; empty when unknown. The browser module uses the same words."""
    if not end:
        return ""
    seconds = (datetime.fromisoformat(end) - (now or datetime.now(UTC))).total_seconds()
    if seconds < 5:
        return "a few seconds left"
    if seconds <= 55:
        return f"about {math.ceil(seconds / 5) * 5} s left"
    if seconds <= 59 * 60:
        return f"about {math.ceil(seconds / 60)} min left"
    if seconds <= 47 * 3_600:
        return f"about {math.ceil(seconds / 3_600)} h left"
    return f"about {math.ceil(seconds / 86_400)} days left"


def until(moment: str | None, now: datetime | None = None) -> str:
    """Return in words how far ahead a time is: "in 3 days", "in 5 minutes", "any moment"; a dash for no time."""
    if not moment:
        return _NONE
    seconds = (datetime.fromisoformat(moment) - (now or datetime.now(UTC))).total_seconds()
    if seconds < 60:
        return "any moment" if seconds < 5 else "in less than a minute"
    for size, unit in _AHEAD:
        if seconds >= size:
            count = int(seconds // size)
            return f"in {count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError("unreachable: a minute and more has a unit")


def _two_units(seconds: int, write: Callable[[int, str], str]) -> str:
    for size, unit, smaller, smaller_unit in _STEPS:
        if seconds >= size:
            parts = ((seconds // size, unit), (seconds % size // smaller, smaller_unit))
            return " ".join(write(count, name) for count, name in parts if count)
    return f"{seconds} s"
