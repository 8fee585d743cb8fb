"""Subjects of NATS with the type of their messages. Each service declares those it publishes on; AsyncAPI calls them channels."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from chassis import streams


@dataclass(frozen=True, slots=True)
class Channel:
    """A subject, or one for each value of its last part, such as `jobs.progress.{owner_id}`."""

    address: str
    message: type[Message]

    def subject(self, value: object) -> str:
        """Return the subject of a value of the last part."""
        return f"{self.address.partition('{')[0]}{value}"

    @property
    def parameter(self) -> str:
        """The name of the last part; empty for a single subject."""
        return self.address.partition("{")[2].rstrip("}")

    @property
    def stream(self) -> str:
        """The JetStream stream that stores its messages; empty for a broadcast, which may be lost."""
        service = self.address.partition(".")[0]
        return streams.stream_name(service) if self.address.startswith(streams.events_subject(service, "")) else ""
