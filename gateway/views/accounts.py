"""Accounts, sessions and their security."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf
from gateway.views import demo as demo_views
from gateway.views import derive
from repruv.auth.v1 import auth_pb2, auth_service_pb2, security_event_pb2
from repruv.demo.v1 import demo_pb2

Role = Literal["user", "admin", "guest"]
Theme = Literal["system", "light", "dark"]
JobEmails = Literal["none", "failed", "all"]
NoticeCategory = Literal["demo_mode", "exports", "connections", "other"]

ASSIGNABLE_ROLES = {"user": auth_pb2.USER_ROLE_USER, "admin": auth_pb2.USER_ROLE_ADMIN}

DASHBOARD_PATH = "/dashboard"
DEMO_PATH = "/settings/demo-mode"
BREAK_PATH = f"{DEMO_PATH}/break"
CONNECTIONS_PATH = "/settings/connections"
PROFILE_PATH = "/settings/profile"
NOTIFICATION_SETTINGS_PATH = "/settings/notifications"
DATA_EXPORT_PATH = "/settings/data"
DELETION_PATH = "/settings/delete-account"
SECURITY_PATH = "/settings/security"
SESSIONS_PATH = "/settings/sessions"
TOKENS_PATH = "/settings/tokens"


class NotificationSettings(TypedDict):
    """What a user is notified of."""

    page_notices: Annotated[bool, Field(description="Whether pages show finished jobs that are unread.")]
    muted_notices: Annotated[list[NoticeCategory], Field(description="Kinds of jobs of which pages show none.")]
    job_emails: Annotated[
        JobEmails, Field(description="Long jobs that an email tells about when they end while the user is away.")
    ]


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
    deletion_at: Annotated[str | None, Field(description="When the account will be erased; null: it stays.")]
    notification_settings: NotificationSettings


_Zone = Annotated[str | None, Field(description="An IANA time zone; null: the browser's.", examples=["Europe/Berlin"])]


class Profile(TypedDict):
    """How a user is named and reads pages."""

    email: str
    name: str
    time_zone: _Zone
    theme: Theme


class Me(TypedDict):
    """The signed-in user, and where to go after signing in."""

    user_id: str
    email: str
    name: str
    role: Role
    time_zone: _Zone
    theme: Theme
    can_access_dashboard: Annotated[bool, Field(description="The address is verified, or the account is still new.")]
    redirect_path: Annotated[str, Field(examples=["/dashboard"])]


class _Session(TypedDict):
    session_id: str
    user_agent: str
    client_name: Annotated[str, Field(examples=["Firefox on Linux"])]
    ip_address: str
    remembered: Annotated[bool, derive.Of("is_remembered")]
    created_at: str | None
    last_seen_at: str | None
    authenticated_at: Annotated[str | None, Field(description="When the user last proved their identity.")]
    idle_expires_at: Annotated[str | None, Field(description="When it ends unless it is used.")]
    expires_at: Annotated[
        str | None, derive.Of("absolute_expire_time"), Field(description="When it ends at the latest.")
    ]


class Session(_Session):
    """One login."""

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


class EmailChange(TypedDict):
    """A change of the address that the new address has not confirmed."""

    email: str
    requested_at: str | None
    expires_at: str | None


class Security(TypedDict):
    """The security settings of an account."""

    user: User
    password_changed_at: str | None
    second_factor_enabled_at: str | None
    recovery_codes_left: int
    fresh_until: Annotated[
        str | None,
        derive.Of("fresh_until_time"),
        Field(description="Until when sensitive calls need no new proof; in the past if they do."),
    ]
    email_change: EmailChange | None
    events: Annotated[list[SecurityEvent], Field(description="The last 20, newest first.")]


THEMES: dict[Theme, auth_pb2.Theme.ValueType] = protobuf.enum_numbers(auth_pb2.Theme.DESCRIPTOR)
_THEMES: dict[int, Theme] = {proto: theme for theme, proto in THEMES.items()}
profile = derive.view(Profile, auth_pb2.User, theme=lambda user: _THEMES.get(user.theme, "system"))
"""Returns the profile of an account."""
JOB_EMAILS: dict[JobEmails, auth_pb2.JobEmails.ValueType] = protobuf.enum_numbers(auth_pb2.JobEmails.DESCRIPTOR)
_JOB_EMAILS: dict[int, JobEmails] = {proto: setting for setting, proto in JOB_EMAILS.items()}
NOTICE_CATEGORIES: dict[NoticeCategory, auth_pb2.NoticeCategory.ValueType] = protobuf.enum_numbers(
    auth_pb2.NoticeCategory.DESCRIPTOR
)
_NOTICE_CATEGORIES: dict[int, NoticeCategory] = {proto: name for name, proto in NOTICE_CATEGORIES.items()}


def notification_settings(account: auth_pb2.User) -> NotificationSettings:
    """Return what a user is notified of; a previous release of auth, in a rolling upgrade, has no settings."""
    settings = account.notification_settings
    return {
        "page_notices": settings.page_notices or not account.HasField("notification_settings"),
        "muted_notices": [_NOTICE_CATEGORIES[each] for each in settings.muted_notices if each in _NOTICE_CATEGORIES],
        "job_emails": _JOB_EMAILS.get(settings.job_emails, "all"),
    }


user = derive.view(User, auth_pb2.User, notification_settings=notification_settings)
"""Returns an account."""
security_event = derive.view(SecurityEvent, security_event_pb2.SecurityEvent)
security = derive.view(Security, auth_service_pb2.GetSecurityResponse, user=lambda response: user(response.user))
"""Returns how an account is protected."""
email_change = derive.view(EmailChange, auth_service_pb2.EmailChange)
"""Returns a pending change of the address."""
_session = derive.view(_Session, auth_pb2.Session)


def me(account: auth_pb2.User, demo: demo_pb2.Demo | None) -> Me:
    """Return the signed-in user and the first page to go to; `demo` is None while the demo service is unavailable."""
    has_data = demo is None or demo_views.demo_state(demo) != "disabled"
    first = DASHBOARD_PATH if has_data else DEMO_PATH
    return {
        "user_id": account.user_id,
        "email": account.email,
        "name": account.name,
        "role": user(account)["role"],
        "time_zone": account.time_zone or None,
        "theme": profile(account)["theme"],
        "can_access_dashboard": account.can_access_dashboard,
        "redirect_path": first if account.can_access_dashboard else SECURITY_PATH,
    }


def session(auth_session: auth_pb2.Session, *, current_id: str) -> Session:
    """Return a session as its owner sees it."""
    return {**_session(auth_session), "current": auth_session.session_id == current_id}
