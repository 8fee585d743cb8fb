"""The metadata keys of calls and errors, and the service of an rpc."""

from __future__ import annotations

AUTHORIZATION = "authorization"
USER_IDENTITY = "x-user-identity"
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"

ERROR_CODE = "error-code"
ERROR_FIELD = "error-field"
ERROR_DETAIL_PREFIX = "error-detail-"


def service_of(full_name: str) -> str:
    """Return the service of an rpc or a proto service by its full name: `jobs` of `/repruv.jobs.v1.JobsService/GetJob`."""
    parts = full_name.removeprefix("/").split(".")
    return parts[1] if parts[0] == "repruv" and len(parts) > 2 else ""
