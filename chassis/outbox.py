"""Outbox and inbox: facts leave in the transaction that made them, and take effect once however often they arrive.

The outbox is a table in the service's schema. A relay in each replica sends its rows and deletes those that were accepted;
several relays share the work by SKIP LOCKED, so the order of arrival is not promised: receivers go by the sequence or
version in the message. See docs/decisions/.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import ids, run

logger = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 1.0
SEND_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What leaves: `subject` says where to, `payload` is protobuf."""

    subject: str
    payload: bytes
    delay: timedelta = timedelta()
    """How long it stays back, so that somebody who sends the same by another way can come first."""


def outbox_table(schema: sa.MetaData) -> sa.Table:
    """Define the outbox of a service."""
    return sa.Table(
        "outbox",
        schema,
        sa.Column("message_id", sa.Uuid, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("send_after", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def inbox_table(schema: sa.MetaData) -> sa.Table:
    """Define the inbox of a service."""
    return sa.Table(
        "inbox",
        schema,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


async def add(conn: AsyncConnection, table: sa.Table, messages: Iterable[Message]) -> list[UUID]:
    """Put messages into the outbox, to leave when the transaction has been committed; gives their ids."""
    added = [(ids.uuid7(), message) for message in messages]
    rows = [{"message_id": id_, "subject": m.subject, "payload": m.payload, "delay": m.delay} for id_, m in added]
    if rows:
        send_after = sa.func.now() + sa.bindparam("delay", type_=sa.Interval)
        await conn.execute(sa.insert(table).values(send_after=send_after), rows)
    return [id_ for id_, _ in added]


async def withdraw(conn: AsyncConnection, table: sa.Table, message_id: UUID) -> None:
    """Take a message back, since it has arrived by another way; nothing if it has left already."""
    await conn.execute(sa.delete(table).where(table.c.message_id == message_id))


async def first_time(conn: AsyncConnection, table: sa.Table, *, consumer: str, message_id: str) -> bool:
    """Note that a message takes effect in this transaction; False if it did before, and the caller must do nothing."""
    statement = postgresql.insert(table).values(consumer=consumer, message_id=message_id).on_conflict_do_nothing()
    # Not by rowcount, which SQLAlchemy does not keep for an INSERT.
    return (await conn.execute(statement.returning(table.c.message_id))).first() is not None


class Relay:
    """Sends what is in the outbox: at once when woken after a commit, and by polling whatever a crash left behind."""

    def __init__(
        self, engine: AsyncEngine, table: sa.Table, routes: Mapping[str, Callable[[str, str, bytes], Awaitable[None]]]
    ) -> None:
        """`routes` gives for each subject prefix who sends it.

        `send(message_id, subject, payload)` raises if the message was not accepted; then it is sent again later.
        """
        self._engine = engine
        self._table = table
        self._routes = routes
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say that rows were committed."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        await run.every(POLL_SECONDS, self._drain, wake=self._wake)

    async def _drain(self) -> None:
        while await self._send_batch() == BATCH:
            pass

    async def _send_batch(self) -> int:
        table = self._table
        due = (
            sa.select(table.c.message_id, table.c.subject, table.c.payload)
            .where(table.c.send_after <= sa.func.now())
            .order_by(table.c.message_id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as conn:
            rows = (await conn.execute(due)).all()
            if not rows:
                return 0
            results = await asyncio.gather(
                *(self._send(str(id_), subject, data) for id_, subject, data in rows), return_exceptions=True
            )
            sent = [row.message_id for row, result in zip(rows, results, strict=True) if result is None]
            failures = [result for result in results if result is not None]
            if sent:
                await conn.execute(sa.delete(table).where(table.c.message_id.in_(sent)))
            unsent = [row.message_id for row, result in zip(rows, results, strict=True) if result is not None]
            if unsent:
                pause = sa.text("now() + interval '1 second'")
                await conn.execute(sa.update(table).where(table.c.message_id.in_(unsent)).values(send_after=pause))
        if failures:
            logger.warning(
                "messages wait in the outbox", extra={"count": len(failures), "cause": repr(failures[0])[:200]}
            )
        return len(rows)

    async def _send(self, message_id: str, subject: str, payload: bytes) -> None:
        send = next(send for prefix, send in self._routes.items() if subject.startswith(prefix))
        async with asyncio.timeout(SEND_TIMEOUT):
            await send(message_id, subject, payload)
