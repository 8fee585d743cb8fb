"""The shapes of what admins see and change."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gateway.api.schemas import Body, Text
from gateway.api.schemas_auth import Role, SecurityEvent, Session, User


class NewRole(Body):
    """A role."""

    role: Role


class WhichSession(Body):
    """Which sessions to end."""

    session_id: Text = Field("", description="All unless given.")


class Users(BaseModel):
    """A page of accounts, newest first."""

    users: list[User]
    next_page_token: str = Field(description="Empty on the last page.")


class UserWithSessions(BaseModel):
    """An account and its living sessions."""

    user: User
    sessions: list[Session]


class OneUser(BaseModel):
    """An account."""

    user: User


class Revoked(BaseModel):
    """How many sessions ended."""

    revoked_count: int


class EverybodyRevoked(BaseModel):
    """How many sessions ended, and whether some are left: then ask again."""

    revoked_count: int
    has_more: bool


class SecurityEvents(BaseModel):
    """A page of security events, newest first."""

    events: list[SecurityEvent]
    next_page_token: str = Field(description="Empty on the last page.")
