"""The metadata keys of calls and errors, and the service of an rpc."""

from __future__ import annotations

AUTHORIZATION = "authorization"
USER_IDENTITY = "x-user-identity"
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"

ERROR_CODE = "error-code"
ERROR_FIELD = "error-field"
ERROR_DETAIL_PREFIX = "error-detail-"


def owner(method: str) -> str:
    """Return the service that serves an rpc, from its full name: `jobs` of `/repruv.jobs.v1.JobsService/GetJob`."""
    parts = method.removeprefix("/").split(".")
    return parts[1] if parts[0] == "repruv" and len(parts) > 2 else ""
