"""Connections survive cancelled tasks and restarts of the database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres, transactions
from chassis.prepared import Prepared
from tests.acceptance import waiting

Use = Callable[[AsyncEngine], Coroutine[Any, Any, None]]
CANCELLATIONS = 200
SLEEP = Prepared(sa.text("SELECT pg_sleep(0.001)"))


@pytest.fixture
def name() -> str:
    """The name of this test's connections: those of the previous test may not have ended yet."""
    return f"test-postgres-{uuid4().hex}"


@pytest.fixture
async def engine(database_url: Callable[[str], str], name: str) -> AsyncIterator[AsyncEngine]:
    """A separate engine."""
    test_engine = postgres.engine(database_url("jobs"), name=name, pool_size=4)
    yield test_engine
    await test_engine.dispose()


async def in_transaction(engine: AsyncEngine) -> None:
    """Use a connection for a moment."""
    async with engine.begin() as conn:
        await conn.execute(sa.text("SELECT pg_sleep(0.001)"))


async def in_kept_transaction(engine: AsyncEngine) -> None:
    """Use a connection that stays checked out for a moment."""
    async with transactions.begin(engine) as conn:
        await SLEEP.execute(conn, {})


async def by_itself(engine: AsyncEngine) -> None:
    """Use an autocommit connection for a moment."""
    async with postgres.autocommit(engine).connect() as conn:
        await conn.execute(sa.text("SELECT pg_sleep(0.001)"))


@pytest.mark.parametrize("use", [in_transaction, in_kept_transaction, by_itself])
async def test_cancelled_task_returns_its_connection(
    engine: AsyncEngine, use: Use, database_url: Callable[[str], str]
) -> None:
    async def has_room() -> bool:
        async with AsyncExitStack() as connections:
            try:
                for _ in range(8):
                    await connections.enter_async_context(await psycopg.AsyncConnection.connect(database_url("jobs")))
            except psycopg.OperationalError:
                return False
        return True

    moments = random.Random(1)
    for _ in range(4):
        for _ in range(CANCELLATIONS // 4):
            task = asyncio.create_task(use(engine))
            await asyncio.sleep(moments.random() * 0.004)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        # The server accepts connections in order, those of cancelled tasks too: on a busy machine it would have no more.
        await waiting.until(has_room, "the server has room for connections")
    # With one connection lost of two, and the other in use by its neighbour, one of these would time out.
    await asyncio.gather(*(use(engine) for _ in range(8)))
    kept_connections = 1 if use is in_kept_transaction else 0
    assert engine.pool.status().endswith(f"Checked out connections: {kept_connections}")
    assert postgres.autocommit(engine).pool.status().endswith("Checked out connections: 0")


@pytest.mark.parametrize("use", [in_transaction, in_kept_transaction, by_itself])
async def test_connection_closed_by_the_server_is_replaced(
    engine: AsyncEngine, use: Use, database: Callable[[str], AsyncEngine], name: str
) -> None:
    await asyncio.gather(use(engine), use(engine))
    end = sa.text("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = :name")
    async with database("jobs").begin() as conn:
        assert set((await conn.execute(end, {"name": name})).scalars()) == {True}
    await use(engine)


async def test_engine_and_its_twin_share_the_connections(
    engine: AsyncEngine, database: Callable[[str], AsyncEngine], name: str
) -> None:
    await asyncio.gather(*(use(engine) for use in (in_transaction, by_itself) for _ in range(20)))
    count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    async with database("jobs").connect() as conn:
        assert await conn.scalar(count, {"name": name}) == 4


async def test_call_without_a_free_connection_is_unavailable(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.pool, "_timeout", 0.1)
    async with engine.connect(), engine.connect():
        with pytest.raises(sa.exc.TimeoutError) as excinfo:
            await in_transaction(engine)
    translated = postgres.translate(excinfo.value)
    assert isinstance(translated, errors.Unavailable)
    assert translated.code == "database_unavailable"
    await in_transaction(engine)


@pytest.mark.parametrize("text", ["\0", "a\0b"])
async def test_text_with_nul_is_a_mistake_of_the_caller(engine: AsyncEngine, text: str) -> None:
    with pytest.raises(sa.exc.DataError) as excinfo:
        async with engine.connect() as conn:
            await conn.execute(sa.text("SELECT CAST(:text AS text)"), {"text": text})
    assert isinstance(postgres.translate_call(excinfo.value), errors.InvalidArgument)
    assert postgres.translate(excinfo.value) is None


async def test_failed_transaction_is_rolled_back_and_its_connection_is_usable(engine: AsyncEngine, name: str) -> None:
    setting = Prepared(sa.text("SELECT set_config('application_name', 'failed', true)"))
    current = Prepared(sa.text("SELECT current_setting('application_name')"))
    for failing in (
        Prepared(sa.text("SELECT 1 / 0")),
        Prepared(sa.text("SELECT pg_terminate_backend(pg_backend_pid())")),
    ):
        with pytest.raises(sa.exc.DBAPIError):
            async with transactions.begin(engine) as conn:
                await setting.execute(conn, {})
                await failing.execute(conn, {})
        async with transactions.begin(engine) as conn:
            assert await current.execute(conn, {}) == [(name,)]


async def test_transaction_commits_statements_of_sqlalchemy_and_of_the_driver(
    engine: AsyncEngine, database: Callable[[str], AsyncEngine]
) -> None:
    async with database("jobs").begin() as conn:
        await conn.execute(sa.text("CREATE TABLE committed (number int)"))
    try:
        async with transactions.begin(engine) as conn:
            await Prepared(sa.text("INSERT INTO committed VALUES (1)")).execute(conn, {})
        async with transactions.begin(engine) as conn:
            await Prepared(sa.text("INSERT INTO committed VALUES (2)")).execute(conn, {})
            await conn.execute(sa.text("INSERT INTO committed VALUES (3)"))
        async with database("jobs").connect() as conn:
            assert sorted(await conn.scalars(sa.text("SELECT number FROM committed"))) == [1, 2, 3]
    finally:
        async with database("jobs").begin() as conn:
            await conn.execute(sa.text("DROP TABLE committed"))


async def test_kept_connections_close_with_their_engine(
    engine: AsyncEngine, database: Callable[[str], AsyncEngine], name: str
) -> None:
    await asyncio.gather(*(in_kept_transaction(engine) for _ in range(8)))
    await engine.dispose()
    ended = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    async with asyncio.timeout(60), postgres.autocommit(database("jobs")).connect() as conn:
        while await conn.scalar(ended, {"name": name}):
            await asyncio.sleep(0.01)
    await in_kept_transaction(engine)


async def test_kept_connections_leave_others_of_the_pool(engine: AsyncEngine) -> None:
    await asyncio.gather(*(in_kept_transaction(engine) for _ in range(8)))
    await asyncio.gather(*(in_transaction(engine) for _ in range(8)))


async def test_unreachable_database_is_unavailable() -> None:
    engine = postgres.engine("postgresql://nobody@127.0.0.1:1/nowhere", name="test-postgres")
    with pytest.raises(sa.exc.OperationalError) as excinfo:
        await in_transaction(engine)
    assert isinstance(postgres.translate(excinfo.value), errors.Unavailable)
    await engine.dispose()


@pytest.mark.parametrize("use_twin", [False, True])
async def test_a_server_that_became_read_only_is_unavailable_and_its_connection_is_replaced(
    engine: AsyncEngine, use_twin: bool
) -> None:
    used = postgres.autocommit(engine) if use_twin else engine
    pid, read_only, write = (
        sa.text("SELECT pg_backend_pid()"),
        sa.text("SET default_transaction_read_only = on"),
        sa.text("CREATE TABLE jobs.refused ()"),
    )
    async with used.connect() as conn:
        demoted = await conn.scalar(pid)
        await conn.execute(read_only)
        await conn.commit()
    with pytest.raises(sa.exc.DBAPIError) as excinfo:
        async with used.connect() as conn:
            await conn.execute(write)
    assert isinstance(postgres.translate(excinfo.value), errors.Unavailable)
    async with used.connect() as conn:
        assert await conn.scalar(pid) != demoted
        assert await conn.scalar(sa.text("SHOW default_transaction_read_only")) == "off"


@pytest.mark.parametrize("sqlstate", ["25006", "57P01", "57P02", "57P03"])
def test_driver_errors_of_an_unusable_server_are_unavailable(sqlstate: str) -> None:
    assert isinstance(postgres.translate(psycopg.errors.lookup(sqlstate)()), errors.Unavailable)
