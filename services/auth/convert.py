"""Conversions between domain objects and protobuf messages."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

from chassis import errors, outbox, protobuf
from repruv.auth.v1 import auth_events_pb2, auth_pb2, auth_service_pb2, security_event_pb2
from services.auth import audit, channels, domain
from services.auth.accounts import validation
from services.auth.accounts.email_change_storage import EmailChange
from services.auth.sessions import user_agents

ROLES = {
    domain.Role.USER: auth_pb2.USER_ROLE_USER,
    domain.Role.ADMIN: auth_pb2.USER_ROLE_ADMIN,
    domain.Role.GUEST: auth_pb2.USER_ROLE_GUEST,
}
THEMES = {
    domain.Theme.SYSTEM: auth_pb2.THEME_SYSTEM,
    domain.Theme.LIGHT: auth_pb2.THEME_LIGHT,
    domain.Theme.DARK: auth_pb2.THEME_DARK,
}
JOB_EMAILS = {
    domain.JobEmails.NONE: auth_pb2.JOB_EMAILS_NONE,
    domain.JobEmails.FAILED: auth_pb2.JOB_EMAILS_FAILED,
    domain.JobEmails.ALL: auth_pb2.JOB_EMAILS_ALL,
}
_JOB_EMAILS: dict[int, domain.JobEmails] = {proto: setting for setting, proto in JOB_EMAILS.items()}
_THEMES: dict[int, domain.Theme] = {proto: theme for theme, proto in THEMES.items()}
_ROLES: dict[int, domain.Role] = {proto: role for role, proto in ROLES.items() if role is not domain.Role.GUEST}


def user_to_proto(user: domain.User, verification_period: timedelta) -> auth_pb2.User:
    """Convert a user; without a verified address the dashboard is open for the verification period."""
    return auth_pb2.User(
        user_id=str(user.user_id),
        email=user.email,
        name=user.name,
        role=ROLES[user.role],
        create_time=protobuf.to_timestamp(user.created_at),
        email_verified=user.email_verified_at is not None,
        has_second_factor=user.has_second_factor,
        disable_time=protobuf.to_timestamp(user.disabled_at),
        can_access_dashboard=user.can_access_dashboard(verification_period),
        time_zone=user.time_zone,
        theme=THEMES[user.theme],
        deletion_time=protobuf.to_timestamp(user.deletion_due_at),
        notification_settings=auth_pb2.NotificationSettings(
            page_notices=user.page_notices, job_emails=JOB_EMAILS[user.job_emails]
        ),
    )


def job_emails_from_proto(setting: int) -> domain.JobEmails:
    """Convert the setting of emails about ended jobs. Raises `InvalidArgument`."""
    if (converted := _JOB_EMAILS.get(setting)) is None:
        raise errors.InvalidArgument("The emails must be none, failed or all.", field="job_emails")
    return converted


def theme_from_proto(theme: int) -> domain.Theme:
    """Convert a theme. Raises `InvalidArgument`."""
    if (converted := _THEMES.get(theme)) is None:
        raise errors.InvalidArgument("The theme must be system, light or dark.", field="theme")
    return converted


def role_from_proto(role: int) -> domain.Role:
    """Convert a role. Raises `InvalidArgument`."""
    if (converted := _ROLES.get(role)) is None:
        raise errors.InvalidArgument("The role must be user or admin.", field="role")
    return converted


def session_to_proto(session: domain.Session) -> auth_pb2.Session:
    """Convert a session."""
    return auth_pb2.Session(
        session_id=str(session.session_id),
        user_id=str(session.user_id),
        user_agent=session.user_agent,
        ip_address=session.ip_address,
        create_time=protobuf.to_timestamp(session.created_at),
        last_seen_time=protobuf.to_timestamp(session.last_seen_at),
        idle_expire_time=protobuf.to_timestamp(session.idle_expires_at),
        absolute_expire_time=protobuf.to_timestamp(session.absolute_expires_at),
        client_name=session.client_name,
        is_remembered=session.is_remembered,
        authenticate_time=protobuf.to_timestamp(session.authenticated_at),
    )


def email_change_to_proto(change: EmailChange) -> auth_service_pb2.EmailChange:
    """Convert a pending change of the address."""
    return auth_service_pb2.EmailChange(
        email=change.new_email,
        request_time=protobuf.to_timestamp(change.requested_at),
        expire_time=protobuf.to_timestamp(change.expires_at),
    )


def event_to_proto(event: audit.Event) -> security_event_pb2.SecurityEvent:
    """Convert a security event."""
    return security_event_pb2.SecurityEvent(
        event_id=str(event.event_id),
        kind=event.kind.value,
        user_id=_text(event.user_id),
        actor_id=_text(event.actor_id),
        session_id=_text(event.session_id),
        ip_address=event.ip_address,
        client_name=event.client_name,
        details=event.details,
        occur_time=protobuf.to_timestamp(event.occurred_at),
    )


def client_from_proto(client: auth_pb2.Client) -> domain.Client:
    """Convert the client of a call and name its user agent. Raises `InvalidArgument`."""
    cleaned = validation.clean_client(user_agent=client.user_agent, ip_address=client.ip_address, device=client.device)
    return replace(cleaned, name=user_agents.name(cleaned.user_agent))


def sessions_revoked(revocation: domain.Revocation) -> outbox.Message:
    """Return the `SessionsRevoked` event of a revocation."""
    event = auth_events_pb2.SessionsRevoked(
        user_id=str(revocation.user_id),
        session_ids=[str(session_id) for session_id in revocation.session_ids],
        reason=revocation.reason,
        occur_time=protobuf.to_timestamp(revocation.revoked_at),
    )
    return outbox.Message(
        subject=channels.SESSIONS.subject(revocation.user_id),
        payload=event.SerializeToString(),
    )


def _text(value: uuid.UUID | None) -> str:
    return str(value) if value else ""
