"""Times and other plain values."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from repruv.jobs.v1 import job_pb2

Json = dict[str, Any]


def time(moment: Timestamp) -> str:
    """Give a time as ISO 8601 in UTC, to the millisecond."""
    return moment.ToDatetime(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_time(message: Any, field: str) -> str | None:
    """Give a field of a message as `time` does; None if it is not set."""
    return time(getattr(message, field)) if message.HasField(field) else None


def error(error: job_pb2.JobError) -> Json:
    """Why something failed."""
    return {"code": error.code, "message": error.message}
