"""Connections to platforms."""

from __future__ import annotations

from gateway.views import times
from gateway.views.times import Json
from repruv.auth.v1 import connection_pb2

CONNECTION_STATES = {
    value: name.removeprefix("CONNECTION_STATE_").lower() for name, value in connection_pb2.ConnectionState.items()
}
CONNECTION_MOVING = frozenset({"connecting", "disconnecting"})


def connection_state(snapshot: connection_pb2.Connection) -> str:
    """Where a connection stands, in one word."""
    return CONNECTION_STATES[snapshot.state]


def connection(snapshot: connection_pb2.Connection) -> Json:
    """A user's access to a platform, as it stood when the snapshot was taken."""
    account, error = snapshot.account, snapshot.error
    return {
        "platform": snapshot.platform,
        "title": snapshot.title,
        "status": connection_state(snapshot),
        "account": {
            "external_id": account.external_id,
            "name": account.name,
            "url": account.url,
            "picture_url": account.picture_url,
        }
        if snapshot.HasField("account")
        else None,
        "error": {"code": error.code, "message": error.message} if snapshot.HasField("error") else None,
        "job_id": snapshot.job_id or None,
        "connected_at": times.optional_time(snapshot, "connect_time"),
        "synced_at": times.optional_time(snapshot, "sync_time"),
        "access_expires_at": times.optional_time(snapshot, "access_expire_time"),
        "item_count": snapshot.item_count,
        "updated_at": times.optional_time(snapshot, "update_time"),
        "version": snapshot.version,
    }
