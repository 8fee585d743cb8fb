"""From our words to those of the wire, and back."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from chassis import outbox, streams
from repruv.auth.v1 import auth_events_pb2, auth_pb2
from services.auth import domain

ROLES = {domain.Role.USER: auth_pb2.USER_ROLE_USER, domain.Role.ADMIN: auth_pb2.USER_ROLE_ADMIN}


def user_to_proto(user: domain.User) -> auth_pb2.User:
    """Show a user."""
    return auth_pb2.User(
        user_id=str(user.user_id),
        email=user.email,
        name=user.name,
        role=ROLES[user.role],
        create_time=timestamp(user.created_at),
    )


def session_to_proto(session: domain.Session) -> auth_pb2.Session:
    """Show a session."""
    return auth_pb2.Session(
        session_id=str(session.session_id),
        user_id=str(session.user_id),
        user_agent=session.user_agent,
        ip_address=session.ip_address,
        create_time=timestamp(session.created_at),
        last_seen_time=timestamp(session.last_seen_at),
        idle_expire_time=timestamp(session.idle_expires_at),
        absolute_expire_time=timestamp(session.absolute_expires_at),
    )


def client_from_proto(client: auth_pb2.Client) -> domain.Client:
    """Read who calls. Raises `InvalidArgument`."""
    return domain.clean_client(user_agent=client.user_agent, ip_address=client.ip_address)


def sessions_revoked(revocation: domain.Revocation) -> outbox.Message:
    """Tell that sessions ended before their time."""
    event = auth_events_pb2.SessionsRevoked(
        user_id=str(revocation.user_id),
        session_ids=[str(session_id) for session_id in revocation.session_ids],
        reason=revocation.reason.value,
        occur_time=timestamp(revocation.revoked_at),
    )
    return outbox.Message(
        subject=streams.events_subject("auth", str(revocation.user_id)), payload=event.SerializeToString()
    )


def timestamp(moment: datetime) -> Timestamp:
    """Write a moment."""
    written = Timestamp()
    written.FromDatetime(moment)
    return written
