"""Transactional outbox: messages are stored in the transaction that causes them and published after its commit.

The outbox is a table in the service's schema. `transaction` is the one way to commit and then publish:

    async with outbox.transaction(engine, schema.outbox, relay) as tx:
        await storage.move(tx.conn, ...)
        tx.publish(outbox.Message(subject=..., payload=...))

At the end of the block one statement inserts the messages, the transaction commits, and the relay sends them. An exception
rolls back everything.

A `Relay` in each replica sends committed messages and deletes those that were accepted. Its polls send the messages that a crash
or an unreachable receiver has left in the table, each with its own backoff. So a message that is rejected repeatedly delays no
other. If this replica cannot reach a receiver, another one sends the message. The relays share the rows by SKIP LOCKED.
Messages may arrive in another order, and twice: receivers compare the sequence or version in the message.
"""

from __future__ import annotations

from chassis.outbox.messages import RELAY_DELAY, Message, outbox_table
from chassis.outbox.relay import BATCH, Relay
from chassis.outbox.transaction import Sender, Transaction, transaction

__all__ = ["BATCH", "RELAY_DELAY", "Message", "Relay", "Sender", "Transaction", "outbox_table", "transaction"]
