"""The choices of the demo mode form, their validation, and the cookie that keeps the latest for the next time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode

from google.protobuf.duration_pb2 import Duration
from starlette.requests import Request
from starlette.responses import Response

from gateway import views
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
    "remember",
    "remembered",
]

EXPIRIES = {"": None, "1": timedelta(days=1), "7": timedelta(days=7), "30": timedelta(days=30)}
"""After how long demo mode is disabled automatically, by the value that the form sends."""
FIELDS = ("profile_type", "niche", "content_count", "interaction_count", "expires")
COOKIE = "demo_choices"
_COOKIE_SECONDS = 86_400
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


def remember(response: Response, fields: Mapping[str, str], *, secure: bool) -> None:
    """Keep valid choices in the browser for a day."""
    value = urlencode({name: fields[name].strip() for name in FIELDS})
    response.set_cookie(
        COOKIE, value, max_age=_COOKIE_SECONDS, path=views.DEMO_PATH, secure=secure, httponly=True, samesite="lax"
    )


def remembered(request: Request) -> dict[str, str]:
    """Return the choices of the latest form that was accepted in this browser; empty if there are none."""
    sent = dict(parse_qsl(request.cookies.get(COOKIE, ""), keep_blank_values=True, errors="replace"))
    values = {name: sent[name] for name in FIELDS if name in sent}
    return (
        {} if len(values) < len(FIELDS) or mistakes(values) else {name: text for name, text in values.items() if text}
    )


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
