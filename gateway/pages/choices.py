"""The choices of the demo mode form, and their validation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from gateway.demo_options import (
    AUTO,
    CONTENT_LIMITS,
    DEFAULT_CONTENT,
    DEFAULT_INTERACTIONS,
    INTERACTION_LIMITS,
    NICHES,
    PROFILE_TYPES,
)

__all__ = [
    "DEFAULT_CONTENT",
    "DEFAULT_INTERACTIONS",
    "EXPIRIES",
    "NICHES",
    "PROFILE_TYPES",
    "count",
    "expiry",
    "mistakes",
]

EXPIRIES = {"": None, "1": timedelta(days=1), "7": timedelta(days=7), "30": timedelta(days=30)}
"""After how long demo mode is disabled automatically, by the value that the form sends."""
_NOT_OFFERED = "Choose one of the options."


def mistakes(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the mistakes of a submitted form by field; empty counts mean the defaults."""
    sentences = {
        "profile_type": _mistake_of_choice(fields["profile_type"], PROFILE_TYPES),
        "niche": _mistake_of_choice(fields["niche"], NICHES),
        "content_count": _mistake_of_count(fields["content_count"], *CONTENT_LIMITS),
        "interaction_count": _mistake_of_count(fields["interaction_count"], *INTERACTION_LIMITS),
        "expires": "" if fields["expires"] in EXPIRIES else _NOT_OFFERED,
    }
    return {field: sentence for field, sentence in sentences.items() if sentence}


def count(text: str) -> int | None:
    """Return the number of a valid field; None if it is empty."""
    return int(text) if text.strip() else None


def expiry(text: str) -> Duration | None:
    """Return the duration of a valid field; None for never."""
    if (delay := EXPIRIES[text]) is None:
        return None
    message = Duration()
    message.FromTimedelta(delay)
    return message


def _mistake_of_choice(text: str, choices: tuple[str, ...]) -> str:
    return "" if text in {"", AUTO, *choices} else _NOT_OFFERED


def _mistake_of_count(text: str, least: int, most: int) -> str:
    digits = text.strip()
    if not digits:
        return ""
    if not (digits.isascii() and digits.isdecimal()):
        return f"Enter a whole number from {least:,} to {most:,}."
    # int() is not called on numbers longer than the largest choice.
    is_in_range = len(digits) <= 9 and least <= int(digits) <= most
    return "" if is_in_range else f"Enter a number from {least:,} to {most:,}."
