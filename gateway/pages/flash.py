"""What the next page has to say about what was just done.

A short-lived cookie carries a code; the sentence is ours, so that nobody can make a page say theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "flash"
LIFETIME_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """A sentence, and how it is meant."""

    kind: Literal["info", "success", "error"]
    message: str


MESSAGES: Mapping[str, Flash] = {
    "signed_out": Flash(kind="info", message="You have signed out."),
    "session_ended": Flash(kind="info", message="Your session has ended. Sign in again to go on."),
    "cancelled": Flash(kind="info", message="Setting up demo mode was cancelled."),
    "dismissed": Flash(kind="info", message="The failure was dismissed. You can set up demo mode again."),
    "changed": Flash(kind="error", message="Demo mode had changed in the meantime. This is how it stands now."),
    "form_used": Flash(kind="error", message="That form had been sent before, so nothing was done. Please try again."),
    "unavailable": Flash(
        kind="error", message="Demo mode does not answer, so nothing was changed. Please try again in a moment."
    ),
    "unanswered": Flash(
        kind="error", message="There was no answer in time. What you asked for may still have happened."
    ),
    "too_much": Flash(kind="error", message="That was too much at once. Please try again in a moment."),
}


def put(response: Response, code: str, *, secure: bool) -> None:
    """Have the next page say the message of `code`."""
    _set(response, code, LIFETIME_SECONDS, secure=secure)


def take(request: Request) -> Flash | None:
    """Give what this page has to say, if anything. The page that says it `clear`s it."""
    return MESSAGES.get(request.cookies.get(COOKIE, ""))


def clear(response: Response, *, secure: bool) -> None:
    """Have it said no more."""
    _set(response, "", 0, secure=secure)


def _set(response: Response, value: str, max_age: int, *, secure: bool) -> None:
    response.set_cookie(COOKIE, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="lax")
