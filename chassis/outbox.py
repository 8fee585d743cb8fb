"""Transactional outbox: messages are stored in the transaction that causes them and published after its commit.

The outbox is a table in the service's schema. `transaction` is the one way to commit and then publish:

    async with outbox.transaction(engine, schema.outbox, relay) as tx:
        await storage.move(tx.conn, ...)
        tx.publish(outbox.Message(subject=..., payload=...))

At the end of the block one statement inserts the messages, the transaction commits, and the relay sends them. An exception
rolls back everything.

A `Relay` in each replica sends committed messages and deletes those that were accepted. Its polls send what a crash or an
unreachable receiver left in the table, each message at its own times. A message that is rejected repeatedly delays no other, and
other replicas send one whose receiver this replica cannot reach. Several relays share the rows by SKIP LOCKED, so the order of
arrival is not guaranteed and a message may arrive twice: receivers compare the sequence or version in the message.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, ids, postgres, run, tracing, transactions
from chassis.prepared import Prepared

logger = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 5.0
"""Seconds between two polls for messages that a crash has left behind."""
DELETE_SECONDS = 0.75
"""Seconds between two passes that delete accepted messages; a message that two passes have seen is deleted."""
SEND_TIMEOUT = 5.0
SENDING_AT_ONCE = 1_000
RELAY_DELAY = timedelta(seconds=2)
"""Time for which polls leave a message to the process that has committed it."""
MAX_RETRY_DELAY = timedelta(seconds=30)
"""Longest time until a message that was not accepted is sent again."""
ALARM_ATTEMPTS = 20
"""Tries after which a message is logged as an error: nothing short of a bug refuses it for that long."""
_uuids = postgresql.ARRAY(sa.Uuid)


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


@functools.lru_cache(maxsize=64)
def _insertion(table: sa.Table, ctes: str, is_traced: bool) -> Prepared:
    """Return the statement that inserts messages, deletes accepted ones, and executes constant `ctes`."""
    column = ", traceparent" if is_traced else ""
    values = ", CAST(:traceparents AS text[])" if is_traced else ""
    return Prepared(
        sa.text(f"""
WITH {ctes + "," if ctes else ""}
deleted AS (DELETE FROM {table.fullname} WHERE message_id = ANY(CAST(:arrived AS uuid[])))
INSERT INTO {table.fullname} (message_id, subject, payload, send_after{column})
SELECT m.message_id, m.subject, m.payload, now() + CAST(:delay AS interval){column}
FROM unnest(CAST(:message_ids AS uuid[]), CAST(:subjects AS text[]), CAST(:payloads AS bytea[]){values})
    AS m (message_id, subject, payload{column})
""")  # noqa: S608 - the name of our own table
    )


@functools.cache
def _deletion(table: sa.Table) -> Prepared:
    return Prepared(sa.delete(table).where(table.c.message_id == sa.any_(sa.bindparam("message_ids", type_=_uuids))))


@functools.cache
def _take_due(table: sa.Table) -> Prepared:
    """Return the statement that takes the messages that are longest due, and puts off their next try.

    Each try doubles the time to the next one, up to `MAX_RETRY_DELAY`: a message that is refused again and again does not delay
    others. No transaction is open while the messages are sent.
    """
    due = (
        sa.select(table.c.message_id)
        .where(table.c.send_after <= sa.func.now())
        .order_by(table.c.send_after)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    seconds = sa.func.least(
        sa.func.power(2.0, sa.func.least(table.c.attempts, 30) + 1), MAX_RETRY_DELAY.total_seconds()
    )
    return Prepared(
        sa.update(table)
        .where(table.c.message_id == sa.any_(sa.func.array(due.scalar_subquery())))
        .values(attempts=table.c.attempts + 1, send_after=sa.func.now() + seconds * sa.text("interval '1 second'"))
        .returning(*(table.c[name] for name in ("message_id", "subject", "payload", "attempts", "traceparent")))
    )


class _Due(NamedTuple):
    """A message that a poll has taken."""

    message_id: UUID
    subject: str
    payload: bytes
    attempts: int
    traceparent: str | None


@functools.cache
def _return_taken(table: sa.Table) -> Prepared:
    """Return the statement that makes messages due again; the try is not counted."""
    taken = table.c.message_id == sa.any_(sa.bindparam("message_ids", type_=_uuids))
    return Prepared(sa.update(table).where(taken).values(attempts=table.c.attempts - 1, send_after=sa.func.now()))


class Sender(Protocol):
    """A `Relay`, or a test double of one."""

    def send(self, messages: Iterable[Message]) -> None:
        """Send committed messages without waiting for their arrival."""

    def deletion(self) -> AbstractContextManager[Sequence[UUID]]:
        """Return accepted messages whose rows the transaction in the context deletes; no other transaction deletes them."""
        return nullcontext(())


class Transaction:
    """An open database transaction and the messages to publish after its commit."""

    def __init__(self, conn: AsyncConnection, table: sa.Table, relay: Sender | None, deletion: ExitStack) -> None:
        """Take the parts of an open transaction; `deletion` ends after its commit."""
        self.conn = conn
        self.messages: list[Message] = []
        """All published messages, in order."""
        self._table = table
        self._relay = relay
        self._deletion = deletion
        self._stored = 0

    def publish(self, *messages: Message) -> None:
        """Publish messages after the commit."""
        self.messages += messages

    async def store(self, ctes: str = "", parameters: Mapping[str, Any] | None = None, *, commit: bool = False) -> None:
        """Store the messages published so far, and write the rows of data-modifying `ctes`, by one statement.

        Without messages and `ctes` there is none. With `commit` it ends the transaction, so it is the last step of the block.
        """
        messages, self._stored = self.messages[self._stored :], len(self.messages)
        if not messages and not ctes:
            return
        values = {
            **(parameters or {}),
            "message_ids": [message.message_id for message in messages],
            "subjects": [message.subject for message in messages],
            "payloads": [message.payload for message in messages],
            "delay": RELAY_DELAY if self._relay else timedelta(),
            "arrived": list(self._deletion.enter_context(self._relay.deletion())) if self._relay else [],
        }
        is_traced = any(message.traceparent for message in messages)
        if is_traced:
            values["traceparents"] = [message.traceparent or None for message in messages]
        await _insertion(self._table, ctes, is_traced).execute(self.conn, values, commit=commit)


@asynccontextmanager
async def transaction(engine: AsyncEngine, table: sa.Table, relay: Sender | None = None) -> AsyncIterator[Transaction]:
    """Open a transaction that publishes: at the end of the block, store its messages, commit, and send them.

    Polls leave the messages alone for `RELAY_DELAY`. Without `relay`, the next poll of another process sends them.
    """
    with ExitStack() as deletion:
        async with transactions.begin(engine) as conn:
            tx = Transaction(conn, table, relay, deletion)
            yield tx
            await tx.store(commit=True)
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
        self._single = postgres.autocommit(engine)
        self._table = table
        self._routes = routes
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._arrived: set[UUID] = set()
        self._arrived_before: set[UUID] = set()
        """The arrived messages at the last pass."""
        self._unanswered: set[UUID] = set()
        self._poll_at = 0.0
        self._pass_at = math.inf

    def send(self, messages: Iterable[Message]) -> None:
        """Send committed messages in background tasks; polls send those that do not arrive.

        Messages are not read back from the table, and rows of accepted ones are deleted in batches.
        """
        for message in messages:
            if len(self._sending) < SENDING_AT_ONCE:
                task = asyncio.create_task(self._send_now(message))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    def deletion(self) -> AbstractContextManager[Sequence[UUID]]:
        """Return accepted messages whose rows the transaction in the context deletes."""
        return self._deleting(list(itertools.islice(self._arrived, BATCH)))

    def wake(self) -> None:
        """Poll now instead of at the next interval."""
        self._poll_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Send forever."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            self._pass_at = math.inf
            await self._delete_arrived(self._arrived & self._arrived_before)
            self._arrived_before = set(self._arrived)
            if loop.time() >= self._poll_at:
                self._poll_at = loop.time() + POLL_SECONDS * random.uniform(0.75, 1.0)  # noqa: S311
                await self._poll()
            if self._arrived:
                self._pass_within(DELETE_SECONDS)
            await run.wait(self._wake, max(0.0, self._poll_at - loop.time()))

    async def _poll(self) -> None:
        """Send the messages that are due.

        A route whose receiver answers none of a batch is not tried again before the next poll: each try may last `SEND_TIMEOUT`,
        and the messages of other routes would wait for it.
        """
        silent: set[str] = set()
        is_complete = False
        while not is_complete:
            async with self._single.connect() as conn:
                due = [_Due(*row) for row in await _take_due(self._table).execute(conn, {})]
            tried = [row for row in due if self._route(row.subject) not in silent]
            self._unanswered.update(row.message_id for row in due if self._route(row.subject) in silent)
            refused = [message for message in await asyncio.gather(*(self._try(*row) for row in tried)) if message]
            answered = {self._route(row.subject) for row in tried if row.message_id not in self._unanswered}
            silent |= {self._route(row.subject) for row in tried} - answered
            await self._delete_arrived(self._arrived)
            if refused:
                logger.warning(
                    "messages were not accepted and stay in the outbox",
                    extra={"count": len(refused), "cause": refused[0]},
                )
                self._poll_soon()
            is_complete = len(due) < BATCH
        # Not before the end: they are due again.
        await self._return_unanswered()

    async def _return_unanswered(self) -> None:
        """Return messages whose receiver does not answer. A replica that reaches it sends them with its next poll."""
        if unanswered := list(self._unanswered):
            self._unanswered.clear()
            async with self._single.connect() as conn:
                await _return_taken(self._table).execute(conn, {"message_ids": unanswered})

    async def _delete_arrived(self, arrived: Collection[UUID]) -> None:
        """Delete the rows of messages that have arrived, by one statement."""
        if arrived:
            with self._deleting(arrived) as message_ids:
                async with self._single.connect() as conn:
                    await _deletion(self._table).execute(conn, {"message_ids": message_ids})

    @contextmanager
    def _deleting(self, message_ids: Collection[UUID]) -> Iterator[Sequence[UUID]]:
        """Take arrived messages for a deletion; they return if it fails."""
        taken = list(message_ids)
        self._arrived.difference_update(taken)
        try:
            yield taken
        except BaseException:
            if taken:
                self._arrived.update(taken)
                self._pass_within(DELETE_SECONDS)
            raise

    async def _try(self, message_id: UUID, subject: str, payload: bytes, attempts: int, traceparent: str | None) -> str:
        """Send a message that was taken; return why it was not accepted, or an empty string."""
        try:
            await self._send(str(message_id), subject, payload, traceparent or "")
        except (errors.Unavailable, OSError) as error:
            self._unanswered.add(message_id)
            return repr(error)[:200]
        except Exception as error:
            if attempts >= ALARM_ATTEMPTS:
                logger.exception(
                    "a message is refused again and again",
                    extra={"message_id": message_id, "subject": subject, "attempts": attempts},
                )
            return repr(error)[:200]
        self._on_arrived(message_id)
        return ""

    async def _send_now(self, message: Message) -> None:
        try:
            await self._send(str(message.message_id), message.subject, message.payload, message.traceparent)
        except Exception as error:  # noqa: BLE001 - the polls send it again and log failures
            logger.debug("a message was not accepted and stays in the outbox", extra={"cause": repr(error)[:200]})
            self._poll_soon()
        else:
            self._on_arrived(message.message_id)

    def _on_arrived(self, message_id: UUID) -> None:
        self._arrived.add(message_id)
        self._pass_within(DELETE_SECONDS)

    def _pass_within(self, seconds: float) -> None:
        """Begin the next pass within `seconds`. Without messages, passes are as rare as polls."""
        loop = asyncio.get_running_loop()
        if (due := loop.time() + seconds) < self._pass_at:
            self._pass_at = due
            loop.call_at(due, self._wake.set)

    def _poll_soon(self) -> None:
        """Poll when the refused messages are due again, not only at the next interval."""
        seconds = RELAY_DELAY.total_seconds()
        self._poll_at = min(self._poll_at, asyncio.get_running_loop().time() + seconds)
        self._pass_within(seconds)

    async def _send(self, message_id: str, subject: str, payload: bytes, traceparent: str) -> None:
        send = self._routes.get(self._route(subject))
        if send is None:
            raise LookupError(f"no route for {subject}")
        with tracing.continued(traceparent), tracing.span("outbox", "producer"):
            async with asyncio.timeout(SEND_TIMEOUT):
                await send(message_id, subject, payload)

    def _route(self, subject: str) -> str:
        """Return the prefix whose function sends a message; the subject itself if there is none."""
        return next((prefix for prefix in self._routes if subject.startswith(prefix)), subject)
