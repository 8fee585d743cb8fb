"""Outbox and inbox on a real database: what is committed leaves, however often sending fails, and takes effect once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import outbox, run
from services.demo import schema

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture(scope="session")
def engine(database: Callable[[str], AsyncEngine]) -> AsyncEngine:
    """A database with an outbox and an inbox."""
    return database("demo")


@pytest.fixture
def prefix() -> str:
    """Subjects of this test."""
    return f"test.{uuid4().hex}."


async def put(engine: AsyncEngine, *subjects: str) -> None:
    """Put messages into the outbox."""
    async with engine.begin() as conn:
        await outbox.add(conn, schema.outbox, [outbox.Message(subject=one, payload=one.encode()) for one in subjects])


async def waiting(engine: AsyncEngine, prefix: str) -> int:
    """Count what has not left."""
    query = sa.select(sa.func.count()).where(schema.outbox.c.subject.startswith(prefix))
    async with engine.connect() as conn:
        return int((await conn.execute(query)).scalar_one())


async def test_what_is_committed_leaves_and_what_is_rolled_back_does_not(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    sent: list[tuple[str, bytes]] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        sent.append((subject, payload))

    relay = outbox.Relay(engine, schema.outbox, {prefix: send, "": ignore})
    with pytest.raises(RuntimeError):
        async with engine.begin() as conn:
            await outbox.add(conn, schema.outbox, [outbox.Message(subject=f"{prefix}lost", payload=b"")])
            raise RuntimeError("roll back")
    await put(engine, f"{prefix}kept")

    async def has_left() -> bool:
        return bool(sent) and await waiting(engine, prefix) == 0

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(has_left)
    assert sent == [(f"{prefix}kept", f"{prefix}kept".encode())]


async def test_what_could_not_be_sent_is_sent_again_under_the_same_id(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    tries: list[str] = []

    async def refuse_once(message_id: str, subject: str, payload: bytes) -> None:
        tries.append(message_id)
        if len(tries) == 1:
            raise ConnectionError("nobody there")

    relay = outbox.Relay(engine, schema.outbox, {prefix: refuse_once, "": ignore})
    await put(engine, f"{prefix}a")

    async def has_left() -> bool:
        return await waiting(engine, prefix) == 0

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(has_left)
    assert len(tries) == 2
    assert len(set(tries)) == 1


async def test_one_that_cannot_be_sent_does_not_hold_up_the_others(
    engine: AsyncEngine, prefix: str, eventually: Eventually
) -> None:
    sent: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        if subject.endswith("bad"):
            raise ConnectionError("never")
        sent.append(subject)

    relay = outbox.Relay(engine, schema.outbox, {prefix: send, "": ignore})
    await put(engine, f"{prefix}bad", f"{prefix}good")

    async def good_has_left() -> bool:
        return sent == [f"{prefix}good"] and await waiting(engine, prefix) == 1

    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(good_has_left)
    async with engine.begin() as conn:
        await conn.execute(sa.delete(schema.outbox).where(schema.outbox.c.subject.startswith(prefix)))


async def test_two_relays_send_each_message_once(engine: AsyncEngine, prefix: str, eventually: Eventually) -> None:
    sent: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        await asyncio.sleep(0)
        sent.append(subject)

    subjects = [f"{prefix}{number}" for number in range(300)]
    await put(engine, *subjects)

    async def all_have_left() -> bool:
        return await waiting(engine, prefix) == 0

    async with run.Background() as background:
        for name in ("one", "two"):
            background.start(name, outbox.Relay(engine, schema.outbox, {prefix: send, "": ignore}).run)
        await eventually(all_have_left)
    assert sorted(sent) == sorted(subjects)


async def test_a_message_takes_effect_once(engine: AsyncEngine) -> None:
    message_id = uuid4().hex

    async def receive() -> bool:
        async with engine.begin() as conn:
            return await outbox.first_time(conn, schema.inbox, consumer="test", message_id=message_id)

    assert sorted(await asyncio.gather(*(receive() for _ in range(5)))) == [False] * 4 + [True]


async def test_a_message_whose_effect_was_rolled_back_may_take_effect_later(engine: AsyncEngine) -> None:
    message_id = uuid4().hex
    with pytest.raises(RuntimeError):
        async with engine.begin() as conn:
            assert await outbox.first_time(conn, schema.inbox, consumer="test", message_id=message_id)
            raise RuntimeError("roll back")
    async with engine.begin() as conn:
        assert await outbox.first_time(conn, schema.inbox, consumer="test", message_id=message_id)


async def ignore(message_id: str, subject: str, payload: bytes) -> None:
    """Leave what other tests have put into the same outbox to them."""
    raise ConnectionError("not ours")
