"""Forms: their values, and the messages about invalid ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request

from chassis import errors
from gateway import problems
from gateway.middleware import form_tokens

MAX_FIELDS = 20
SECRETS = frozenset({"password", "current_password", "new_password", "code", form_tokens.FIELD})
"""Fields whose values are not shown again."""
WHOLE = "form"
"""The name of errors that belong to the whole form instead of one field."""


def blank() -> dict[str, Any]:
    return filled({}, {})


def filled(values: Mapping[str, str], mistakes: Mapping[str, str]) -> dict[str, Any]:
    """Return a form with its sent values and its mistakes by field."""
    return {"values": dict(values), "errors": dict(mistakes)}


async def read(request: Request, *names: str) -> dict[str, str]:
    """Return the named fields; a missing one is empty.

    Raises `unsupported_media_type` for multipart, which none of our forms sends: its charset may be any codec of Python.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        message = "Forms are sent as application/x-www-form-urlencoded."
        raise errors.InvalidArgument(message, code="unsupported_media_type", field="content-type")
    async with request.form(max_fields=MAX_FIELDS) as fields:
        return {name: str(fields.get(name, "")) for name in names}


def mistakes_of(error: errors.Error, fields: Collection[str]) -> tuple[int, dict[str, str]]:
    """Return status and mistakes by field of a form that failed with `error`; raise `error` if it is not about the form."""
    if error.code == form_tokens.CODE:
        return 403, {WHOLE: error.message}
    is_invalid = isinstance(error, errors.InvalidArgument | errors.AlreadyExists)
    if is_invalid or error.code in {"invalid_credentials", "invalid_code"}:
        mistakes = {name: text for name, text in error.mistakes.items() if name in fields}
        return 422, mistakes or {WHOLE: error.message}
    if isinstance(error, errors.ResourceExhausted | errors.Unavailable):
        return problems.problem_of(error).status, {WHOLE: _retry_sentence(error)}
    raise error


def refused_form(error: errors.Error, fields: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Return status and form to show again after `error`, without what must not be repeated. Raises as `mistakes_of`."""
    status, mistakes = mistakes_of(error, fields.keys())
    return status, filled({name: text for name, text in fields.items() if name not in SECRETS}, mistakes)


def retry_headers(error: errors.Error, status: int) -> Mapping[str, str]:
    """Return when to send a form again that was refused with `error` and is shown with `status`."""
    return problems.problem_of(error).headers if status in {429, 503} else {}


def _retry_sentence(error: errors.Error) -> str:
    if isinstance(error, errors.Unavailable):
        return "This is temporarily unavailable. Try again in a minute."
    seconds = error.details.get("retry_after_seconds", "")
    minutes = -(-int(seconds) // 60) if seconds.isdecimal() else 1
    return f"{error.message} Try again in {minutes} {'minute' if minutes == 1 else 'minutes'}."
