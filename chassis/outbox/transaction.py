"""Transactions that publish: store the messages, commit, send them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import transactions
from chassis.outbox.messages import RELAY_DELAY, Message
from chassis.prepared import Prepared


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
            "accepted": list(self._deletion.enter_context(self._relay.deletion())) if self._relay else [],
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


@functools.lru_cache(maxsize=64)
def _insertion(table: sa.Table, ctes: str, is_traced: bool) -> Prepared:
    """Return the statement that inserts messages, deletes accepted ones, and executes constant `ctes`."""
    column = ", traceparent" if is_traced else ""
    values = ", CAST(:traceparents AS text[])" if is_traced else ""
    return Prepared(
        sa.text(f"""
WITH {ctes + "," if ctes else ""}
deleted AS (
    -- As `relay._is_unlocked`.
    DELETE FROM {table.fullname} WHERE message_id = ANY(ARRAY(
        SELECT message_id FROM {table.fullname} WHERE message_id = ANY(CAST(:accepted AS uuid[])) FOR UPDATE SKIP LOCKED))
)
INSERT INTO {table.fullname} (message_id, subject, payload, send_after{column})
SELECT m.message_id, m.subject, m.payload, now() + CAST(:delay AS interval){column}
FROM unnest(CAST(:message_ids AS uuid[]), CAST(:subjects AS text[]), CAST(:payloads AS bytea[]){values})
    AS m (message_id, subject, payload{column})
""")  # noqa: S608 - the name of our own table
    )
