"""The outbox on a real database: committed messages are sent, however often sending fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import driver, errors, outbox, postgres, prepared, run
from chassis.outbox import relay as outbox_relay
from services.demo import schema

SINGLE_SIZE = 2
"""Connections of the pool that the relay uses, which a test freezes."""
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture(scope="session")
def engine(database: Callable[[str], AsyncEngine]) -> AsyncEngine:
    """A database with an outbox."""
    return database("demo")


@pytest.fixture
def prefix() -> str:
    """Subjects of this test."""
    return f"test.{uuid4().hex}."


async def put(engine: AsyncEngine, *subjects: str) -> None:
    """Put messages into the outbox."""
    async with outbox.transaction(engine, schema.outbox) as tx:
        tx.publish(*(outbox.Message(subject=subject, payload=subject.encode()) for subject in subjects))


async def waiting(engine: AsyncEngine, prefix: str) -> int:
    """Count unsent messages."""
    query = sa.select(sa.func.count()).where(schema.outbox.c.subject.startswith(prefix))
    async with engine.connect() as conn:
        return int((await conn.execute(query)).scalar_one())


async def test_committed_messages_are_sent_and_rolled_back_ones_are_not(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    messages: list[tuple[str, bytes]] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        messages.append((subject, payload))

    relay = outbox.Relay(engine, schema.outbox, {prefix: send})
    with pytest.raises(RuntimeError):
        async with outbox.transaction(engine, schema.outbox) as tx:
            tx.publish(outbox.Message(subject=f"{prefix}lost", payload=b""))
            await tx.store()
            raise RuntimeError("roll back")
    await put(engine, f"{prefix}kept")

    async def has_left() -> bool:
        return bool(messages) and await waiting(engine, prefix) == 0

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(has_left)
    assert messages == [(f"{prefix}kept", f"{prefix}kept".encode())]


async def test_failed_message_is_sent_again_with_the_same_id(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    tries: list[str] = []

    async def refuse_once(message_id: str, subject: str, payload: bytes) -> None:
        tries.append(message_id)
        if len(tries) == 1:
            raise ConnectionError("nobody there")

    relay = outbox.Relay(engine, schema.outbox, {prefix: refuse_once})
    await put(engine, f"{prefix}a")

    async def has_left() -> bool:
        return await waiting(engine, prefix) == 0

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(has_left)
    assert len(tries) == 2
    assert len(set(tries)) == 1


async def test_unsendable_message_does_not_delay_others(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    messages: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        if subject.endswith("bad"):
            raise ConnectionError("never")
        messages.append(subject)

    relay = outbox.Relay(engine, schema.outbox, {prefix: send})
    await put(engine, f"{prefix}bad", f"{prefix}good")

    async def good_has_left() -> bool:
        return messages == [f"{prefix}good"] and await waiting(engine, prefix) == 1

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(good_has_left)
    async with engine.begin() as conn:
        await conn.execute(sa.delete(schema.outbox).where(schema.outbox.c.subject.startswith(prefix)))


async def test_two_relays_send_each_message_once(engine: AsyncEngine, prefix: str, eventually: Eventually) -> None:
    messages: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        await asyncio.sleep(0)
        messages.append(subject)

    subjects = [f"{prefix}{number}" for number in range(300)]
    await put(engine, *subjects)

    async def all_have_left() -> bool:
        return await waiting(engine, prefix) == 0

    async with run.Background() as background:
        for name in ("one", "two"):
            background.start(name, outbox.Relay(engine, schema.outbox, {prefix: send}).run)
        await eventually(all_have_left)
    assert sorted(messages) == sorted(subjects)


async def row_versions(engine: AsyncEngine, prefix: str) -> dict[UUID, str]:
    """Return which transaction has written each message."""
    query = sa.select(schema.outbox.c.message_id, sa.cast(sa.literal_column("xmin"), sa.Text))
    async with engine.connect() as conn:
        rows = await conn.execute(query.where(schema.outbox.c.subject.startswith(prefix)))
        return {row.message_id: row.xmin for row in rows}


class Sent(outbox.Sender):
    """Records the messages that a transaction sends after its commit."""

    def __init__(self, engine: AsyncEngine, prefix: str) -> None:
        self._engine = engine
        self._prefix = prefix
        self.batches: list[list[str]] = []
        self.statements: list[str] = []
        self.recorded: AsyncConnection | None = None
        """The connection whose statements are recorded: other relays of the process execute statements too."""

    def note_statement(self, connection: object, _: object, statement: str, *__: object) -> None:
        """Record a statement of the recorded connection."""
        if self.recorded and connection in (self.recorded, self.recorded.sync_connection):
            self.statements.append(statement)

    def send(self, messages: Iterable[outbox.Message]) -> None:
        """Record the subjects."""
        self.batches.append([message.subject.removeprefix(self._prefix) for message in messages])

    async def stored(self) -> list[tuple[str, bool]]:
        """Return each stored subject, and whether polls leave it alone for now."""
        outbox_table = schema.outbox
        query = sa.select(outbox_table.c.subject, outbox_table.c.send_after > sa.func.now())
        query = query.where(outbox_table.c.subject.startswith(self._prefix)).order_by(outbox_table.c.message_id)
        async with self._engine.connect() as conn:
            rows = (await conn.execute(query)).all()
        return [(subject.removeprefix(self._prefix), is_delayed) for subject, is_delayed in rows]


@pytest.fixture
async def sent(
    engine: AsyncEngine, prefix: str, late_polls: timedelta, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sent]:
    """A recording relay; the messages of the test are deleted afterwards, so that no relay of another test finds them."""
    recorder = Sent(engine, prefix)
    execute = prepared.Prepared.execute

    async def record(statement: prepared.Prepared, *arguments: Any, **options: Any) -> list[tuple[Any, ...]]:
        recorder.note_statement(arguments[0], None, statement.sql)
        return await execute(statement, *arguments, **options)

    monkeypatch.setattr(prepared.Prepared, "execute", record)
    event.listen(engine.sync_engine, "before_cursor_execute", recorder.note_statement)
    yield recorder
    event.remove(engine.sync_engine, "before_cursor_execute", recorder.note_statement)
    async with engine.begin() as conn:
        await conn.execute(sa.delete(schema.outbox).where(schema.outbox.c.subject.startswith(prefix)))


async def test_transaction_stores_messages_with_one_statement_and_sends_them_after_the_commit(
    engine: AsyncEngine, prefix: str, sent: Sent
) -> None:
    async with outbox.transaction(engine, schema.outbox, sent) as tx:
        assert await tx.conn.scalar(sa.select(1)) == 1
        tx.publish(outbox.Message(subject=f"{prefix}a", payload=b"a"))
        tx.publish(*(outbox.Message(subject=f"{prefix}{name}", payload=b"") for name in "bc"))
        assert sent.batches == []
        assert await sent.stored() == []
        sent.recorded = tx.conn
    assert len(sent.statements) == 1
    assert sent.batches == [["a", "b", "c"]]
    assert await sent.stored() == [("a", True), ("b", True), ("c", True)]


async def test_transaction_that_fails_stores_and_sends_nothing(engine: AsyncEngine, prefix: str, sent: Sent) -> None:
    with pytest.raises(RuntimeError):
        async with outbox.transaction(engine, schema.outbox, sent) as tx:
            tx.publish(outbox.Message(subject=f"{prefix}lost", payload=b""))
            raise RuntimeError("roll back")
    assert sent.batches == []
    assert await sent.stored() == []


async def test_transaction_without_a_relay_leaves_its_messages_to_the_next_poll(
    engine: AsyncEngine, prefix: str, sent: Sent
) -> None:
    async with outbox.transaction(engine, schema.outbox) as tx:
        tx.publish(outbox.Message(subject=f"{prefix}a", payload=b""))
    assert await sent.stored() == [("a", False)]


async def test_next_transaction_deletes_the_messages_that_have_arrived(
    engine: AsyncEngine, prefix: str, eventually: Eventually, sent: Sent
) -> None:
    arrived: list[str] = []

    async def accept(message_id: str, subject: str, payload: bytes) -> None:
        arrived.append(subject.removeprefix(prefix))

    async def has_arrived() -> bool:
        return arrived == ["a"]

    relay = outbox.Relay(engine, schema.outbox, {prefix: accept})  # it does not run: nothing else deletes
    await publish(engine, relay, f"{prefix}a")
    await eventually(has_arrived)
    with pytest.raises(RuntimeError):
        async with outbox.transaction(engine, schema.outbox, relay) as tx:
            tx.publish(outbox.Message(subject=f"{prefix}lost", payload=b""))
            await tx.store()
            raise RuntimeError("roll back")
    assert await sent.stored() == [("a", True)]
    await publish(engine, relay, f"{prefix}b")
    assert await sent.stored() == [("b", True)]


async def test_messages_that_another_replica_deletes_or_returns_delay_nothing(
    engine: AsyncEngine, prefix: str, eventually: Eventually, sent: Sent
) -> None:
    """Both have sent them. Each locks them in its own order, so a wait could be a deadlock."""
    arrived: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        arrived.append(subject.removeprefix(prefix))
        if subject.endswith("unreachable"):
            await other.execute(lock_all)
            raise errors.Unavailable("The service does not answer.")

    def has_arrived(name: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            relay.wake()
            return name in arrived

        return check

    lock_all = sa.select(schema.outbox.c.message_id).where(schema.outbox.c.subject.startswith(prefix)).with_for_update()
    relay = outbox.Relay(engine, schema.outbox, {prefix: send})
    await publish(engine, relay, f"{prefix}a")
    await eventually(has_arrived("a"))
    async with engine.connect() as other:
        await other.execute(lock_all)
        await publish(engine, relay, f"{prefix}b")
        assert await sent.stored() == [("a", True), ("b", True)]
        await put(engine, f"{prefix}unreachable")
        async with run.Background() as background:
            background.start("relay", relay.run)
            await eventually(has_arrived("unreachable"))
            await put(engine, f"{prefix}c")
            await eventually(has_arrived("c"))


async def test_message_without_an_answer_delays_no_others(
    engine: AsyncEngine, prefix: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    monkeypatch.setattr(outbox_relay, "SEND_TIMEOUT", 3_600.0)
    monkeypatch.setattr(outbox_relay, "WAIT_SECONDS", 0.1)
    tried: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        tried.append(subject.removeprefix(prefix))
        if subject.endswith("hangs"):
            await asyncio.Event().wait()

    def was_tried(name: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            relay.wake()
            return name in tried

        return check

    await put(engine, f"{prefix}hangs")
    relay = outbox.Relay(engine, schema.outbox, {prefix: send})
    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(was_tried("hangs"))
        await put(engine, f"{prefix}next")
        await eventually(was_tried("next"))


async def publish(engine: AsyncEngine, relay: outbox.Relay, subject: str) -> None:
    """Publish a message in a transaction of its own."""
    async with outbox.transaction(engine, schema.outbox, relay) as tx:
        tx.publish(outbox.Message(subject=subject, payload=b""))


async def test_transaction_without_messages_sends_nothing(engine: AsyncEngine, sent: Sent) -> None:
    async with outbox.transaction(engine, schema.outbox, sent):
        pass
    assert sent.batches == []


@pytest.mark.parametrize(("error", "attempts"), [(RuntimeError("refused"), 1), (ConnectionError("down"), 0)])
async def test_refused_messages_of_one_route_do_not_delay_those_of_another(
    engine: AsyncEngine, prefix: str, eventually: Eventually, error: Exception, attempts: int
) -> None:
    messages: list[str] = []
    tried: list[str] = []
    tried_before: list[int] = []

    async def refuse(message_id: str, subject: str, payload: bytes) -> None:
        tried.append(subject)
        raise error

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        messages.append(subject)
        tried_before.append(len(tried))

    good = [f"{prefix}up.{number}" for number in range(5)]
    await put(engine, *(f"{prefix}down.{number}" for number in range(2 * outbox.BATCH + 50)))
    await put(engine, *good)
    stored = await row_versions(engine, prefix)
    relay = outbox.Relay(engine, schema.outbox, {f"{prefix}down.": refuse, f"{prefix}up.": send})

    async def good_are_sent() -> bool:
        return sorted(messages) == sorted(good)

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(good_are_sent)
    if not attempts:
        # Each try may take a receiver that does not answer five seconds.
        assert max(tried_before) <= outbox.BATCH
        # No poll rewrites the backlog.
        left = await row_versions(engine, f"{prefix}down.")
        assert sum(stored[message_id] != version for message_id, version in left.items()) <= len(tried)
    async with engine.begin() as conn:
        refused = schema.outbox.c.subject.startswith(f"{prefix}down.")  # a sent one may still be there
        tries = (await conn.execute(sa.select(schema.outbox.c.attempts).where(refused))).scalars().all()
        assert len(tries) == 2 * outbox.BATCH + 50
        assert set(tries) <= {attempts, 1}  # the last batch may not be returned yet
        await conn.execute(sa.delete(schema.outbox).where(refused))


async def test_replica_that_cannot_reach_a_receiver_leaves_its_messages_to_others(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    tried = asyncio.Event()

    async def unreachable(message_id: str, subject: str, payload: bytes) -> None:
        tried.set()
        raise errors.Unavailable("The service does not answer.")

    async def reachable(message_id: str, subject: str, payload: bytes) -> None:
        pass

    async def has_left() -> bool:
        return await waiting(engine, prefix) == 0

    await put(engine, f"{prefix}a")
    cut_off = outbox.Relay(engine, schema.outbox, {prefix: unreachable})
    async with run.Background() as background:
        background.start("cut off", cut_off.run)
        async with asyncio.timeout(60):
            await tried.wait()
        background.start("healthy", outbox.Relay(engine, schema.outbox, {prefix: reachable}).run)
        await eventually(has_left)


async def test_relay_outlives_a_server_that_froze(
    engine: AsyncEngine, prefix: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover whose former primary is frozen: its connections stay open, and new ones lead to another server."""
    sent: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        sent.append(subject)

    def has_sent(subject: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            relay.wake()
            return subject in sent

        return check

    relay = outbox.Relay(engine, schema.outbox, {prefix: send})
    await put(engine, f"{prefix}a")
    # From now on only the relay waits for answers: it repeats what a busy machine answers later.
    monkeypatch.setattr(driver, "ANSWER_SECONDS", 1.0)
    async with run.Background(translate=postgres.translate) as background:
        async with AsyncExitStack() as connections:
            single = postgres.autocommit(engine)
            pids: list[int] = []
            for _ in range(SINGLE_SIZE):
                conn = await connections.enter_async_context(single.connect())
                pids.append((await conn.execute(sa.select(sa.func.pg_backend_pid()))).scalar_one())
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            background.start("relay", relay.run)
            await eventually(has_sent(f"{prefix}a"))
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


async def test_message_without_a_route_stays_and_the_others_leave(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    async def accept(message_id: str, subject: str, payload: bytes) -> None:
        pass

    await put(engine, f"{prefix}unknown", f"{prefix}known.a")
    relay = outbox.Relay(engine, schema.outbox, {f"{prefix}known.": accept})

    async def known_has_left() -> bool:
        return await waiting(engine, f"{prefix}known.") == 0

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(known_has_left)
    assert await waiting(engine, f"{prefix}unknown") == 1
    async with engine.begin() as conn:
        await conn.execute(sa.delete(schema.outbox).where(schema.outbox.c.subject.startswith(prefix)))
