"""Bodies and responses of the account administration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Text
from gateway.views import ApiToken, SecurityEvent, Session, User


class NewRole(Body):
    """A role."""

    role: Literal["user", "admin"]


class WhichSession(Body):
    """Which sessions to end."""

    session_id: Text = Field("", description="By default all.")


class Deletion(Body):
    """How to delete an account."""

    immediately: bool = Field(False, description="Erase it at once, without a grace period.")


class Users(TypedDict):
    """A page of accounts."""

    users: list[User]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]
    previous_page_token: Annotated[str, Field(description="Empty on the first page.")]


class UserWithSessions(TypedDict):
    """An account, its active sessions and its API tokens."""

    user: User
    sessions: list[Session]
    api_tokens: list[ApiToken]


class OneUser(TypedDict):
    """An account."""

    user: User


class Revoked(TypedDict):
    """How many sessions ended."""

    revoked_count: int


class SessionCount(TypedDict):
    """How many sessions are active, and of how many users."""

    count: int
    user_count: int
    has_more: Annotated[bool, Field(description="Whether counting ended at 100,000.")]


class AllUsersRevoked(TypedDict):
    """How many sessions ended, and whether some are left: then ask again."""

    revoked_count: int
    has_more: bool


class SecurityEvents(TypedDict):
    """A page of security events."""

    events: list[SecurityEvent]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]
    previous_page_token: Annotated[str, Field(description="Empty on the first page.")]
