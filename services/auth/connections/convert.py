"""Connections as protobuf messages. Pure."""

from __future__ import annotations

from chassis import protobuf
from lifecycle.machine import Error
from repruv.auth.v1 import auth_events_pb2, connection_pb2
from services.auth.connections import domain
from services.auth.connections.domain import Connection, State

_STATES = protobuf.Enum(connection_pb2.ConnectionState.DESCRIPTOR, State)
_SHOW_JOB = frozenset({State.CONNECTING, State.DISCONNECTING, State.FAILED})


def connection_to_proto(connection: Connection, *, title: str) -> connection_pb2.Connection:
    return connection_pb2.Connection(
        user_id=str(connection.user_id),
        platform=connection.platform,
        title=title,
        state=_STATES.to_proto(connection.state),
        version=connection.version,
        job_id=str(connection.job_id or "") if connection.state in _SHOW_JOB else "",
        account=_account(connection.account) if connection.account else None,
        error=_error(connection.error) if connection.error else None,
        connect_time=protobuf.to_timestamp(connection.connected_at),
        sync_time=protobuf.to_timestamp(connection.synced_at),
        access_expire_time=protobuf.to_timestamp(connection.access_expires_at),
        item_count=connection.item_count,
        update_time=protobuf.to_timestamp(connection.changed_at),
    )


def event_to_proto(connection: Connection, action: domain.Action, *, title: str) -> auth_events_pb2.ConnectionEvent:
    """Return the event of the transition that led to `connection`."""
    return auth_events_pb2.ConnectionEvent(
        connection=connection_to_proto(connection, title=title),
        reason=action.value,
        occur_time=protobuf.to_timestamp(connection.changed_at),
    )


def _account(account: domain.Account) -> connection_pb2.Connection.Account:
    return connection_pb2.Connection.Account(
        external_id=account.external_id, name=account.name, url=account.url, picture_url=account.picture_url
    )


def _error(error: Error) -> connection_pb2.ConnectionError:
    return connection_pb2.ConnectionError(code=error.code, message=error.message)
