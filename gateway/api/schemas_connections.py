"""The shapes of connections to platforms."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from gateway.api.schemas import Body, Error, Text

Status = Literal["disconnected", "connecting", "connected", "disconnecting", "failed"]


class Connect(Body):
    """How to connect."""

    return_to: Text = Field("", description="Where to go afterwards: a path of ours.", examples=["/dashboard"])


class Account(BaseModel):
    """Whom the platform knows the user as."""

    external_id: str
    name: str
    url: str
    picture_url: str


class Connection(BaseModel):
    """A user's access to a platform. Of two snapshots the one with the higher `version` is the newer."""

    platform: str = Field(examples=["youtube"])
    title: str = Field(examples=["YouTube"])
    status: Status
    account: Account | None
    error: Error | None
    job_id: str | None
    connected_at: str | None
    synced_at: str | None
    access_expires_at: str | None
    item_count: int
    updated_at: str | None
    version: int


class Connections(BaseModel):
    """One connection for each platform."""

    connections: list[Connection]


class Connecting(BaseModel):
    """Where the browser must go to consent."""

    status: Status
    authorization_url: str
    expires_at: str | None
    connection: Connection


class Disconnecting(BaseModel):
    """The access is being taken back."""

    status: Status
    job_id: str | None
    connection: Connection
