"""Names of the metadata keys that calls and their errors carry."""

from __future__ import annotations

AUTHORIZATION = "authorization"
USER_IDENTITY = "x-user-identity"
REQUEST_ID = "x-request-id"

ERROR_CODE = "error-code"
ERROR_FIELD = "error-field"
ERROR_DETAIL_PREFIX = "error-detail-"
