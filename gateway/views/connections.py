"""Connections to platforms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf
from gateway.views import derive
from gateway.views.times import ErrorInfo
from repruv.auth.v1 import connection_pb2

ConnectionStatus = Literal["disconnected", "connecting", "connected", "disconnecting", "failed"]

CONNECTION_STATES: dict[connection_pb2.ConnectionState.ValueType, ConnectionStatus] = protobuf.enum_names(
    connection_pb2.ConnectionState.DESCRIPTOR
)
CONNECTION_TRANSITIONAL = frozenset({"connecting", "disconnecting"})


class Account(TypedDict):
    """The user's account at the platform."""

    external_id: str
    name: str
    url: str
    picture_url: str


class Connection(TypedDict):
    """A user's access to a platform. Of two snapshots the one with the higher `version` is the newer."""

    platform: Annotated[str, Field(examples=["youtube"])]
    title: Annotated[str, Field(examples=["YouTube"])]
    status: Annotated[ConnectionStatus, derive.Of("state")]
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
    return CONNECTION_STATES[snapshot.state]


connection = derive.view(Connection, connection_pb2.Connection)
"""Returns a connection as it was when the snapshot was taken."""
