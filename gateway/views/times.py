"""Times, errors and untyped JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import Field
from typing_extensions import TypedDict

from repruv.jobs.v1 import job_pb2

Json = dict[str, Any]


class ErrorInfo(TypedDict):
    """The reason for a failure."""

    code: Annotated[str, Field(examples=["attempt_timeout"])]
    message: str


def time(moment: Timestamp) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(moment.seconds, UTC).isoformat()[:19]}.{moment.nanos // 1_000_000:03}Z"


def utc(moment: datetime) -> str:
    """Return a time as `time` does."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_time(message: Any, field: str) -> str | None:
    """Return a field of a message as `time` does; None if it is not set."""
    return time(getattr(message, field)) if message.HasField(field) else None


def error(error: job_pb2.JobError) -> ErrorInfo:
    """Return the reason for a failure."""
    return {"code": error.code, "message": error.message}
