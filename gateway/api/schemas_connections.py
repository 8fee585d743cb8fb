"""Bodies and responses of platform connections."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Text
from gateway.views import Connection, ConnectionStatus


class Connect(Body):
    """Options of a connect."""

    return_to: Text = Field("", description="Where to go afterwards: a path on this site.", examples=["/dashboard"])


class Connections(TypedDict):
    """One connection for each platform."""

    connections: list[Connection]


class Connecting(TypedDict):
    """The address where the user consents."""

    status: ConnectionStatus
    authorization_url: str
    expires_at: str | None
    connection: Connection


class Disconnecting(TypedDict):
    """The access is being revoked."""

    status: ConnectionStatus
    job_id: str | None
    connection: Connection
