"""What the form of demo mode offers. The demo service decides; a test holds the two together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

AUTO = "auto"
PROFILE_TYPES = ("creator", "brand", "local_business")
NICHES = ("tech_reviews", "beauty", "fitness", "gaming", "food", "travel", "finance", "education")
DEFAULT_CONTENT = 60
DEFAULT_INTERACTIONS = 2_000
EXPIRIES = {"": None, "1": timedelta(days=1), "7": timedelta(days=7), "30": timedelta(days=30)}
"""When demo mode is disabled by itself, by what the form sends."""
CONTENT_LIMITS = (1, 1_000)
INTERACTION_LIMITS = (0, 100_000)
_NOT_OFFERED = "Choose one of those that are offered."


def mistakes(sent: Mapping[str, str]) -> dict[str, str]:
    """Say what is wrong with a form that was sent, by field; empty counts are the defaults."""
    found = {
        "profile_type": _mistake_of_choice(sent["profile_type"], PROFILE_TYPES),
        "niche": _mistake_of_choice(sent["niche"], NICHES),
        "content_count": _mistake_of_count(sent["content_count"], *CONTENT_LIMITS),
        "interaction_count": _mistake_of_count(sent["interaction_count"], *INTERACTION_LIMITS),
        "expires": "" if sent["expires"] in EXPIRIES else _NOT_OFFERED,
    }
    return {field: sentence for field, sentence in found.items() if sentence}


def count(text: str) -> int | None:
    """Give the number of a field without mistakes; None if it is empty."""
    return int(text) if text.strip() else None


def expiry(text: str) -> Duration | None:
    """Give the duration of a field without mistakes; None: never."""
    if (lasts := EXPIRIES[text]) is None:
        return None
    message = Duration()
    message.FromTimedelta(lasts)
    return message


def _mistake_of_choice(text: str, known: tuple[str, ...]) -> str:
    return "" if text in {"", AUTO, *known} else _NOT_OFFERED


def _mistake_of_count(text: str, least: int, most: int) -> str:
    digits = text.strip()
    if not digits:
        return ""
    if not (digits.isascii() and digits.isdecimal()):
        return f"Must be a whole number between {least:,} and {most:,}."
    # Longer than any number that is offered: it need not be read to be too large.
    is_in_range = len(digits) <= 9 and least <= int(digits) <= most
    return "" if is_in_range else f"Must be between {least:,} and {most:,}."
