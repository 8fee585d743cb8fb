"""Payloads: what a job is to do, as a dataclass of its kind."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar

import pydantic

from worker._api.outcomes import JobFailed

P = TypeVar("P")


def read(payload: type[P], given: Mapping[str, Any]) -> P:
    """Make the dataclass of a payload. Fields that it does not know are ignored: a newer submitter may send them.

    Raises `JobFailed` `payload_invalid`, which no other attempt would mend, naming the first field that is wrong.
    """
    try:
        kind: Any = payload
        made: P = _adapter(kind).validate_python(dict(given))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "payload"
        message = f"The payload is not valid: {field}: {first['msg']}."
        raise JobFailed("payload_invalid", message, retryable=False) from error
    return made


def prepare(payload: Any) -> None:
    """Build what reads this type, so that a type which nothing can read is found when the worker starts."""
    _adapter(payload)


@cache
def _adapter(payload: Hashable) -> pydantic.TypeAdapter[Any]:
    known: Any = payload
    return pydantic.TypeAdapter(known)
