"""Transactional outbox: messages are stored in the transaction that causes them and published after its commit.

The outbox is a table in the service's schema. `transaction` is the one way to commit and then publish:

    async with outbox.transaction(engine, schema.outbox, relay) as tx:
        await storage.move(tx.conn, ...)
        tx.publish(outbox.Message(subject=..., payload=...))

At the end of the block one statement inserts the messages, the transaction commits, and the relay sends them. An exception
rolls back everything. A caller that inserts its messages in a statement of its own (`insertion`, `parameters`) publishes them
with `stored=True`: they are only sent.

A `Relay` in each replica sends committed messages and deletes those that were accepted. Its polls send whatever a crash or an
unreachable receiver leaves in the table. Several relays share the rows by SKIP LOCKED, so order of arrival is not guaranteed
and a message may arrive twice: receivers compare the sequence or version in the message.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import dml

from chassis import ids, postgres, run

logger = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 1.0
SEND_TIMEOUT = 5.0
SENDING_AT_ONCE = 1_000
RELAY_DELAY = timedelta(seconds=2)
RETRY_DELAY = timedelta(seconds=2)
"""Time until a message that was not accepted is sent again."""
_uuids = postgresql.ARRAY(sa.Uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to publish; `payload` is protobuf."""

    subject: str
    payload: bytes
    delay: timedelta = timedelta()
    """Time for which polls leave the message alone; `transaction` sets it."""
    message_id: UUID = field(default_factory=ids.uuid7)


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


async def add(conn: AsyncConnection, table: sa.Table, messages: Sequence[Message]) -> None:
    """Insert messages into the outbox; a relay sends them after the commit."""
    if messages:
        await postgres.execute_each(conn, insertion(table), [parameters(message) for message in messages])


@functools.cache
def insertion(table: sa.Table) -> sa.Insert:
    """Return the statement that inserts a message, for callers that combine it with their own."""
    send_after = sa.func.now() + sa.bindparam("delay", type_=sa.Interval)
    return sa.insert(table).values(
        message_id=sa.bindparam("message_id"),
        subject=sa.bindparam("subject"),
        payload=sa.bindparam("payload"),
        send_after=send_after,
    )


def parameters(message: Message) -> dict[str, Any]:
    """Return the parameters of `insertion`."""
    return {
        "message_id": message.message_id,
        "subject": message.subject,
        "payload": message.payload,
        "delay": message.delay,
    }


async def withdraw(conn: AsyncConnection, table: sa.Table, message_ids: Collection[UUID]) -> None:
    """Delete messages that arrived by another way; those already sent are not affected."""
    await conn.execute(_deletion(table), {"message_ids": list(message_ids)})


@functools.cache
def _deletion(table: sa.Table) -> sa.Delete:
    return sa.delete(table).where(table.c.message_id == sa.any_(sa.bindparam("message_ids", type_=_uuids)))


@functools.cache
def _take_batch(table: sa.Table) -> dml.ReturningDelete[UUID, str, bytes]:
    """Return the statement that takes a batch of due messages: a rollback restores them."""
    due = (
        sa.select(table.c.message_id)
        .where(table.c.send_after <= sa.func.now())
        .order_by(table.c.message_id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    chosen = table.c.message_id == sa.any_(sa.func.array(due.scalar_subquery()))
    return sa.delete(table).where(chosen).returning(table.c.message_id, table.c.subject, table.c.payload)


@functools.cache
def _is_due(table: sa.Table) -> sa.Select[bool]:
    return sa.select(sa.exists().where(table.c.send_after <= sa.func.now()))


class Sender(Protocol):
    """A `Relay`, or a test double of one."""

    def send(self, messages: Iterable[Message]) -> None:
        """Send committed messages without waiting for their arrival."""


class Transaction:
    """An open database transaction and the messages to publish after its commit."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn = conn
        self.messages: list[Message] = []
        """All published messages, in order."""
        self._to_store: list[Message] = []

    def publish(self, *messages: Message, stored: bool = False) -> None:
        """Publish messages after the commit. With `stored` the caller has already inserted them into the outbox."""
        self.messages += messages
        if not stored:
            self._to_store += messages

    async def store(self, table: sa.Table, delay: timedelta) -> None:
        """Insert the messages that the caller has not inserted; `transaction` does this before the commit."""
        await add(self.conn, table, [replace(message, delay=delay) for message in self._to_store])


@asynccontextmanager
async def transaction(engine: AsyncEngine, table: sa.Table, relay: Sender | None = None) -> AsyncIterator[Transaction]:
    """Open a transaction that publishes: at the end of the block, store its messages, commit, and send them.

    Polls leave the messages alone for `RELAY_DELAY`. Without `relay`, the next poll of another process sends them.
    """
    async with engine.begin() as conn:
        tx = Transaction(conn)
        yield tx
        await tx.store(table, timedelta() if relay is None else RELAY_DELAY)
    if relay is not None and tx.messages:
        relay.send(tx.messages)


class Relay:
    """Sends the messages of an outbox: after their commit, and by polling those that were not accepted or survived a crash."""

    def __init__(
        self, engine: AsyncEngine, table: sa.Table, routes: Mapping[str, Callable[[str, str, bytes], Awaitable[None]]]
    ) -> None:
        """`routes` maps each subject prefix to the function that sends it.

        `send(message_id, subject, payload)` raises if the message was not accepted; then it is sent again later.
        """
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._table = table
        self._routes = routes
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._arrived: set[UUID] = set()

    def send(self, messages: Iterable[Message]) -> None:
        """Send committed messages in background tasks; polls send those that do not arrive.

        Messages are not read back from the table, and rows of accepted ones are deleted in batches.
        """
        for message in messages:
            if len(self._sending) < SENDING_AT_ONCE:
                task = asyncio.create_task(self._send_now(message))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    def wake(self) -> None:
        """Poll now instead of at the next interval."""
        self._wake.set()

    async def run(self) -> None:
        """Send forever."""
        while True:
            self._wake.clear()
            if await self._drain():
                await run.wait(self._wake, POLL_SECONDS * random.uniform(0.75, 1.0))  # noqa: S311
            else:
                # The receiver is unavailable: further commits must not cause a retry each.
                await asyncio.sleep(POLL_SECONDS)

    async def _drain(self) -> bool:
        """Send due messages; return False as soon as one was refused."""
        while self._arrived or await self._has_due():
            taken, refused = await self._send_batch()
            if refused:
                return False
            if taken < BATCH:
                break
        return True

    async def _has_due(self) -> bool:
        """Return whether a message is due: most polls find none, and need no transaction."""
        async with self._single.connect() as conn:
            return bool((await conn.execute(_is_due(self._table))).scalar_one())

    async def _send_batch(self) -> tuple[int, int]:
        """Send a batch; return the numbers of sent and of refused messages."""
        arrived = list(self._arrived)
        async with self._engine.begin() as conn:
            if arrived:
                await withdraw(conn, self._table, arrived)
            rows = sorted(await conn.execute(_take_batch(self._table)))
            sending = [self._send(str(id_), subject, payload) for id_, subject, payload in rows]
            results = await asyncio.gather(*sending, return_exceptions=True)
            failures = [result for result in results if result is not None]
            refused = [row for row, result in zip(rows, results, strict=True) if result is not None]
            if refused:
                back = [
                    Message(message_id=id_, subject=name, payload=data, delay=RETRY_DELAY)
                    for id_, name, data in refused
                ]
                await add(conn, self._table, back)
        self._arrived.difference_update(arrived)
        if failures:
            logger.warning(
                "messages were not accepted and stay in the outbox",
                extra={"count": len(failures), "cause": repr(failures[0])[:200]},
            )
        return len(rows), len(failures)

    async def _send_now(self, message: Message) -> None:
        try:
            await self._send(str(message.message_id), message.subject, message.payload)
        except Exception as error:  # noqa: BLE001 - the polls send it again and log failures
            logger.debug("a message was not accepted and stays in the outbox", extra={"cause": repr(error)[:200]})
        else:
            self._arrived.add(message.message_id)

    async def _send(self, message_id: str, subject: str, payload: bytes) -> None:
        send = next(send for prefix, send in self._routes.items() if subject.startswith(prefix))
        async with asyncio.timeout(SEND_TIMEOUT):
            await send(message_id, subject, payload)
