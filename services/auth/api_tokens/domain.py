"""API tokens and their limits. Pure: no database, no clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis import errors

PER_USER = 20
"""Active tokens of a user, and ended ones that are kept."""
MAX_LIFETIME_DAYS = 365
DEFAULT_LIFETIME_DAYS = 90
USE_NOTED_AFTER = timedelta(minutes=5)
"""Accuracy of the last use: a token in constant use costs one write in this time."""
RETENTION = timedelta(days=7)
"""Time for which an ended token is kept; users see the expired ones."""


class Scope(StrEnum):
    """What an API token may do; rpcs name their scope beside their callers.

    Write includes read, since the answer to a change shows what was changed.
    """

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token of a user; it is active until it expires or is revoked."""

    token_id: uuid.UUID
    user_id: uuid.UUID
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class ApiTokenInvalid(errors.Unauthenticated):
    """The API token is incorrect, expired or revoked."""

    default_code = "api_token_invalid"


class ApiTokenNotFound(errors.NotFound):
    """There is no such API token."""

    default_code = "api_token_not_found"


class TooManyApiTokens(errors.FailedPrecondition):
    """You have 20 active API tokens, which is the limit. Revoke one that you no longer use."""

    default_code = "too_many_api_tokens"
