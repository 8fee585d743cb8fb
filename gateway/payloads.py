"""Payloads of jobs that operators send, by the API or a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from chassis import errors, protobuf


def to_struct(payload: Mapping[str, Any]) -> Struct:
    """Return a payload as protobuf. Raises `InvalidArgument` for values that it cannot carry."""
    try:
        return protobuf.to_struct(payload)
    except (ValueError, TypeError) as error:
        message = f"The payload cannot be sent: {str(error)[:200]}."
        raise errors.InvalidArgument(message, field="payload") from error
