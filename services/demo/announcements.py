"""Events of demo mode: put into the outbox in the transaction that makes them true."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox, streams
from services.demo import convert, schema
from services.demo.domain import Action, Mode


async def announce(conn: AsyncConnection, mode: Mode, action: Action) -> None:
    """Tell of the transition that led to `mode`; whoever commits wakes the relay."""
    await outbox.add(conn, schema.outbox, [replace(event(mode, action), delay=timedelta())])


def event(mode: Mode, action: Action) -> outbox.Message:
    """Write what tells of the transition that led to `mode`, for `outbox.Relay.send`."""
    payload = convert.event_to_proto(mode, action).SerializeToString()
    subject = streams.events_subject("demo", str(mode.owner_id))
    return outbox.Message(subject=subject, payload=payload, delay=outbox.RELAY_DELAY)
