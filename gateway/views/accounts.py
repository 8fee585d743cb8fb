"""Accounts, sessions, and how both are protected."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import demo as demo_views
from gateway.views import times
from repruv.auth.v1 import auth_pb2, auth_service_pb2, security_event_pb2
from repruv.demo.v1 import demo_pb2

Role = Literal["user", "admin"]

DASHBOARD_PATH = "/dashboard"
DEMO_PATH = "/settings/demo-mode"
CONNECTIONS_PATH = "/settings/connections"
SECURITY_PATH = "/settings/security"
SESSIONS_PATH = "/settings/sessions"


class User(TypedDict):
    """A person with an account."""

    user_id: str
    email: str
    name: str
    role: Role
    created_at: str | None
    email_verified: bool
    has_second_factor: bool
    disabled_at: str | None


class Me(TypedDict):
    """The signed-in user, and where to go after signing in."""

    user_id: str
    email: str
    name: str
    role: Role
    can_access_dashboard: Annotated[bool, Field(description="The address is verified, or the account is still new.")]
    redirect_path: Annotated[str, Field(examples=["/dashboard"])]


class Session(TypedDict):
    """One login."""

    session_id: str
    user_agent: str
    client_name: Annotated[str, Field(examples=["Firefox on Linux"])]
    ip_address: str
    remembered: bool
    created_at: str | None
    last_seen_at: str | None
    authenticated_at: Annotated[str | None, Field(description="When its user last proved who they are.")]
    idle_expires_at: Annotated[str | None, Field(description="When it ends unless it is used before.")]
    expires_at: Annotated[str | None, Field(description="When it ends at the latest.")]
    current: bool


class SecurityEvent(TypedDict):
    """Something that happened to an account."""

    event_id: str
    kind: Annotated[str, Field(examples=["login_failed"])]
    user_id: str | None
    actor_id: str | None
    session_id: str | None
    ip_address: str
    client_name: str
    details: dict[str, str]
    occurred_at: str | None


class Security(TypedDict):
    """How an account is protected."""

    user: User
    password_changed_at: str | None
    second_factor_enabled_at: str | None
    recovery_codes_left: int
    fresh_until: Annotated[
        str | None, Field(description="Until when sensitive calls need no new proof; in the past if they do.")
    ]
    events: Annotated[list[SecurityEvent], Field(description="The last 20, newest first.")]


def user(account: auth_pb2.User) -> User:
    """Return an account."""
    return {
        "user_id": account.user_id,
        "email": account.email,
        "name": account.name,
        "role": _role(account),
        "created_at": times.optional_time(account, "create_time"),
        "email_verified": account.email_verified,
        "has_second_factor": account.has_second_factor,
        "disabled_at": times.optional_time(account, "disable_time"),
    }


def me(account: auth_pb2.User, demo: demo_pb2.Demo | None) -> Me:
    """Return the signed-in user and the first page to go to; `demo` is None while the demo service is unavailable."""
    has_data = demo is None or demo_views.demo_state(demo) != "disabled"
    first = DASHBOARD_PATH if has_data else DEMO_PATH
    return {
        "user_id": account.user_id,
        "email": account.email,
        "name": account.name,
        "role": _role(account),
        "can_access_dashboard": account.can_access_dashboard,
        "redirect_path": first if account.can_access_dashboard else SECURITY_PATH,
    }


def session(auth_session: auth_pb2.Session, *, current_id: str) -> Session:
    """Return a session as its owner sees it."""
    return {
        "session_id": auth_session.session_id,
        "user_agent": auth_session.user_agent,
        "client_name": auth_session.client_name,
        "ip_address": auth_session.ip_address,
        "remembered": auth_session.is_remembered,
        "created_at": times.optional_time(auth_session, "create_time"),
        "last_seen_at": times.optional_time(auth_session, "last_seen_time"),
        "authenticated_at": times.optional_time(auth_session, "authenticate_time"),
        "idle_expires_at": times.optional_time(auth_session, "idle_expire_time"),
        "expires_at": times.optional_time(auth_session, "absolute_expire_time"),
        "current": auth_session.session_id == current_id,
    }


def security(protection: auth_service_pb2.GetSecurityResponse) -> Security:
    """Return how an account is protected."""
    return {
        "user": user(protection.user),
        "password_changed_at": times.optional_time(protection, "password_change_time"),
        "second_factor_enabled_at": times.optional_time(protection, "second_factor_time"),
        "recovery_codes_left": protection.recovery_codes_left,
        "fresh_until": times.optional_time(protection, "fresh_until_time"),
        "events": [security_event(event) for event in protection.events],
    }


def security_event(event: security_event_pb2.SecurityEvent) -> SecurityEvent:
    """Return a security event."""
    return {
        "event_id": event.event_id,
        "kind": event.kind,
        "user_id": event.user_id or None,
        "actor_id": event.actor_id or None,
        "session_id": event.session_id or None,
        "ip_address": event.ip_address,
        "client_name": event.client_name,
        "details": dict(event.details),
        "occurred_at": times.optional_time(event, "occur_time"),
    }


def _role(account: auth_pb2.User) -> Role:
    return cast("Role", auth_pb2.UserRole.Name(account.role).removeprefix("USER_ROLE_").lower())
