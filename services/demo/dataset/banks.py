"""How banks of phrases are written down."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """Split "a|b|c", so that a bank of short phrases stays readable."""
    return tuple(word.strip() for word in text.split("|"))


def lines(text: str) -> tuple[str, ...]:
    """One phrase a line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
