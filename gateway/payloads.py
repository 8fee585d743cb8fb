"""Payloads of jobs that operators send, by the API or a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from chassis import errors, protobuf

MAX_DEPTH = 20
"""Services refuse messages that are nested more deeply than 100 levels, and each level of JSON takes three."""


def to_struct(payload: Mapping[str, Any]) -> Struct:
    """Return a payload as protobuf. Raises `InvalidArgument` for values that it cannot carry."""
    if not _is_shallow(payload, MAX_DEPTH):
        raise errors.InvalidArgument(f"The payload must be nested at most {MAX_DEPTH} levels deep.", field="payload")
    try:
        return protobuf.to_struct(payload)
    except (ValueError, TypeError) as error:
        message = f"The payload cannot be sent: {str(error)[:200]}."
        raise errors.InvalidArgument(message, field="payload") from error


def _is_shallow(value: Any, depth: int) -> bool:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in items)
