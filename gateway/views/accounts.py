"""Accounts, sessions, and how both are protected."""

from __future__ import annotations

from gateway.views import demo as demo_views
from gateway.views import times
from gateway.views.times import Json
from repruv.auth.v1 import auth_pb2, auth_service_pb2, security_event_pb2
from repruv.demo.v1 import demo_pb2

DASHBOARD_PATH = "/dashboard"
DEMO_PATH = "/settings/demo-mode"
CONNECTIONS_PATH = "/settings/connections"
SECURITY_PATH = "/settings/security"
SESSIONS_PATH = "/settings/sessions"


def user(account: auth_pb2.User) -> Json:
    """A person with an account."""
    return {
        "user_id": account.user_id,
        "email": account.email,
        "name": account.name,
        "role": auth_pb2.UserRole.Name(account.role).removeprefix("USER_ROLE_").lower(),
        "created_at": times.optional_time(account, "create_time"),
        "email_verified": account.email_verified,
        "has_second_factor": account.has_second_factor,
        "disabled_at": times.optional_time(account, "disable_time"),
    }


def me(account: auth_pb2.User, demo: demo_pb2.Demo | None) -> Json:
    """The signed-in user, and where to go after signing in; `demo` is None when nobody knows how it stands."""
    has_data = demo is None or demo_views.demo_state(demo) != "disabled"
    first = DASHBOARD_PATH if has_data else DEMO_PATH
    return {
        **{name: value for name, value in user(account).items() if name in {"user_id", "email", "name", "role"}},
        "can_access_dashboard": account.can_access_dashboard,
        "redirect_path": first if account.can_access_dashboard else SECURITY_PATH,
    }


def session(login: auth_pb2.Session, *, current_id: str) -> Json:
    """One login, as its owner sees it."""
    return {
        "session_id": login.session_id,
        "user_agent": login.user_agent,
        "client_name": login.client_name,
        "ip_address": login.ip_address,
        "remembered": login.is_remembered,
        "created_at": times.optional_time(login, "create_time"),
        "last_seen_at": times.optional_time(login, "last_seen_time"),
        "authenticated_at": times.optional_time(login, "authenticate_time"),
        "idle_expires_at": times.optional_time(login, "idle_expire_time"),
        "expires_at": times.optional_time(login, "absolute_expire_time"),
        "current": login.session_id == current_id,
    }


def security(found: auth_service_pb2.GetSecurityResponse) -> Json:
    """How an account is protected."""
    return {
        "user": user(found.user),
        "password_changed_at": times.optional_time(found, "password_change_time"),
        "second_factor_enabled_at": times.optional_time(found, "second_factor_time"),
        "recovery_codes_left": found.recovery_codes_left,
        "fresh_until": times.optional_time(found, "fresh_until_time"),
        "events": [security_event(event) for event in found.events],
    }


def security_event(event: security_event_pb2.SecurityEvent) -> Json:
    """Something that happened to an account."""
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
