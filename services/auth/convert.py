"""Conversions between domain objects and protobuf messages."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

from chassis import outbox, protobuf
from repruv.auth.v1 import auth_events_pb2, auth_pb2, auth_service_pb2, security_event_pb2
from services.auth import audit, channels, domain, validation
from services.auth.accounts.email_change_storage import EmailChange
from services.auth.sessions import user_agents

_ROLES = protobuf.Enum(auth_pb2.UserRole.DESCRIPTOR, domain.Role)
ASSIGNABLE_ROLES = protobuf.Enum(auth_pb2.UserRole.DESCRIPTOR, (domain.Role.USER, domain.Role.ADMIN), "role")
"""The roles that an admin can set."""
THEMES = protobuf.Enum(auth_pb2.Theme.DESCRIPTOR, domain.Theme, "theme")
JOB_EMAILS = protobuf.Enum(auth_pb2.JobEmails.DESCRIPTOR, domain.JobEmails, "job_emails")
_NOTICES = protobuf.Enum(auth_pb2.NoticeCategory.DESCRIPTOR, domain.NoticeCategory, "muted_notices")


def user_to_proto(user: domain.User, verification_period: timedelta) -> auth_pb2.User:
    """Convert a user; without a verified address the dashboard is open for the verification period."""
    return auth_pb2.User(
        user_id=str(user.user_id),
        email=user.email,
        name=user.name,
        role=_ROLES.to_proto(user.role),
        create_time=protobuf.to_timestamp(user.created_at),
        email_verified=user.email_verified_at is not None,
        has_second_factor=user.has_second_factor,
        disable_time=protobuf.to_timestamp(user.disabled_at),
        can_access_dashboard=user.can_access_dashboard(verification_period),
        time_zone=user.time_zone,
        theme=THEMES.to_proto(user.theme),
        deletion_time=protobuf.to_timestamp(user.deletion_due_at),
        notification_settings=auth_pb2.NotificationSettings(
            page_notices=user.page_notices,
            job_emails=JOB_EMAILS.to_proto(user.job_emails),
            muted_notices=map(_NOTICES.to_proto, sorted(user.muted_notices)),
        ),
    )


def notice_categories_from_proto(message: auth_pb2.NoticeCategories) -> frozenset[domain.NoticeCategory]:
    """Convert categories. Raises `InvalidArgument`."""
    return frozenset(map(_NOTICES.from_proto, message.categories))


def session_to_proto(session: domain.Session) -> auth_pb2.Session:
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
    return auth_service_pb2.EmailChange(
        email=change.new_email,
        request_time=protobuf.to_timestamp(change.requested_at),
        expire_time=protobuf.to_timestamp(change.expires_at),
    )


def event_to_proto(event: audit.Event) -> security_event_pb2.SecurityEvent:
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
