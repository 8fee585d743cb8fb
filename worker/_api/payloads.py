"""Payloads: what a job is to do, as a dataclass of its kind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import pydantic

from worker._api.outcomes import JobFailed

P = TypeVar("P")

MAX_SCHEMA_BYTES = 16_384


def read(payload_type: type[P], fields: Mapping[str, Any]) -> P:
    """Build the dataclass of a payload. Unknown fields are ignored: a newer submitter may send them.

    Raises `JobFailed` `payload_invalid`, not retryable, which names the first invalid field.
    """
    try:
        key: Any = payload_type
        payload: P = _adapter(key).validate_python(dict(fields))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "payload"
        message = f"The payload is not valid: {field}: {first['msg']}."
        raise JobFailed("payload_invalid", message, retryable=False) from error
    return payload


def prepare(payload_type: Any) -> None:
    """Build the validator of a type. A type that pydantic cannot read fails at the start of the worker."""
    _adapter(payload_type)


def schema(payload_type: Any) -> str:
    """Return the JSON Schema of a payload; empty for a type without one, or if it is larger than `MAX_SCHEMA_BYTES`."""
    if payload_type is None:
        return ""
    try:
        text = json.dumps(_adapter(payload_type).json_schema(), separators=(",", ":"))
    except (pydantic.errors.PydanticInvalidForJsonSchema, ValueError, TypeError):
        return ""
    return text if len(text) <= MAX_SCHEMA_BYTES else ""


def fields(payload_type: Any, default: Iterable[str]) -> set[str]:
    """Return the names of the fields of a dataclass, or `default` for a payload of another type."""
    if not dataclasses.is_dataclass(payload_type):
        return set(default)
    return {field.name for field in dataclasses.fields(payload_type)}


@cache
def _adapter(payload_type: Hashable) -> pydantic.TypeAdapter[Any]:
    any_type: Any = payload_type
    return pydantic.TypeAdapter(any_type)
