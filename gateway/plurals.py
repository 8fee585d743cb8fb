"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number of things: "1 job", "4,213 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
