"""Connections to platforms."""

from __future__ import annotations

from gateway import clients, views
from gateway.stream.sources.source import Fetched, Source
from repruv.auth.v1 import auth_events_pb2, connection_pb2
from repruv.jobs.v1 import job_pb2

JOB_KINDS = {"connecting": "auth.connect", "disconnecting": "auth.disconnect"}


class Connections(Source[connection_pb2.Connection]):
    """The connections of an owner, one for each platform."""

    event = "connection"
    subject = "auth.events.connections"

    def __init__(self, connections: clients.Connections) -> None:
        self._connections = connections

    def parse(self, payload: bytes) -> connection_pb2.Connection:
        return auth_events_pb2.ConnectionEvent.FromString(payload).connection

    async def fetch(self, identity: str, *, quick: bool = False) -> Fetched[connection_pb2.Connection]:
        rpc = self._connections.list_connections
        return Fetched((await (rpc.quick if quick else rpc)(identity)).connections)

    def key(self, snapshot: connection_pb2.Connection) -> str:
        return snapshot.platform

    def job_id(self, snapshot: connection_pb2.Connection) -> str:
        """Return the job of the transition; empty while the user is at the platform."""
        return snapshot.job_id

    def is_in_progress(self, snapshot: connection_pb2.Connection) -> bool:
        """Return whether the platform is being connected or disconnected."""
        return views.connection_state(snapshot) in views.CONNECTION_TRANSITIONAL

    def job_spec(self, snapshot: connection_pb2.Connection) -> job_pb2.JobSpec:
        """Return kind and owner of the job that connects or disconnects the platform."""
        return job_pb2.JobSpec(kind=JOB_KINDS[views.connection_state(snapshot)], owner_id=snapshot.user_id)

    def show(self, snapshot: connection_pb2.Connection, job: job_pb2.Job | None) -> views.Connection | None:
        """Return the JSON of `GET /connections/{platform}`; None for a connection that was never used."""
        return views.connection(snapshot) if snapshot.version else None
