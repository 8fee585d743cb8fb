"""Connections to platforms."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import times
from gateway.views.times import ErrorInfo
from repruv.auth.v1 import connection_pb2

ConnectionStatus = Literal["disconnected", "connecting", "connected", "disconnecting", "failed"]

CONNECTION_STATES = {
    value: cast("ConnectionStatus", name.removeprefix("CONNECTION_STATE_").lower())
    for name, value in connection_pb2.ConnectionState.items()
}
CONNECTION_TRANSITIONAL = frozenset({"connecting", "disconnecting"})


class Account(TypedDict):
    """Whom the platform knows the user as."""

    external_id: str
    name: str
    url: str
    picture_url: str


class Connection(TypedDict):
    """A user's access to a platform. Of two snapshots the one with the higher `version` is the newer."""

    platform: Annotated[str, Field(examples=["youtube"])]
    title: Annotated[str, Field(examples=["YouTube"])]
    status: ConnectionStatus
    account: Account | None
    error: ErrorInfo | None
    job_id: str | None
    connected_at: str | None
    synced_at: str | None
    access_expires_at: str | None
    item_count: int
    updated_at: str | None
    version: int


def connection_state(snapshot: connection_pb2.Connection) -> ConnectionStatus:
    """Return the state of a connection."""
    return CONNECTION_STATES[snapshot.state]


def connection(snapshot: connection_pb2.Connection) -> Connection:
    """Return a connection as it was when the snapshot was taken."""
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
