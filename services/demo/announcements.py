"""Events of demo mode: put into the outbox in the transaction that makes them true."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox, streams
from services.demo import convert, schema
from services.demo.domain import Action, Mode


async def announce(conn: AsyncConnection, mode: Mode, action: Action) -> None:
    """Tell of the transition that led to `mode`."""
    await outbox.add(conn, schema.outbox, [event(mode, action)])


def event(mode: Mode, action: Action) -> outbox.Message:
    """Write what `announce` tells, for who tells more at once."""
    payload = convert.event_to_proto(mode, action).SerializeToString()
    return outbox.Message(subject=streams.events_subject("demo", str(mode.owner_id)), payload=payload)
