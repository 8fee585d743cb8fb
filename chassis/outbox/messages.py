"""A message to publish, and the table that stores it until its receiver has accepted it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from chassis import ids, tracing

RELAY_DELAY = timedelta(seconds=2)
"""Time for which polls leave a message to the process that has committed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to publish; `payload` is protobuf."""

    subject: str
    payload: bytes
    message_id: UUID = field(default_factory=ids.uuid7)
    traceparent: str = field(default_factory=tracing.position)
    """The position in the trace of what caused the message (`chassis.tracing`); empty without a trace."""


def outbox_table(schema: sa.MetaData) -> sa.Table:
    """Define the outbox of a service."""
    return sa.Table(
        "outbox",
        schema,
        sa.Column("message_id", sa.Uuid, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("send_after", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("traceparent", sa.Text),
    )
