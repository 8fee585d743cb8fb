"""Statements that SQLAlchemy compiles and the driver executes: same transaction, same errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres, round_trips, transactions
from chassis.prepared import Prepared, driver_connection
from dev.embedded import EmbeddedServers

metadata = sa.MetaData()
rows = sa.Table(
    "prepared_rows",
    metadata,
    sa.Column("row_id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)


class State(StrEnum):
    NEW = "new"
    OLD = "old"


INSERT = Prepared(
    sa.insert(rows)
    .values(row_id=sa.bindparam("row"), state=State.NEW, count=sa.bindparam("count", type_=sa.Integer))
    .returning(rows)
)
AGE = Prepared(
    sa.update(rows).where(rows.c.row_id == sa.bindparam("row"), rows.c.state.in_([State.NEW])).values(state=State.OLD)
)


@pytest.fixture
async def engine(servers: EmbeddedServers) -> AsyncIterator[AsyncEngine]:
    engine = postgres.engine(servers.postgres.url, name="prepared")
    async with engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
    yield engine
    async with engine.begin() as conn:
        await conn.run_sync(metadata.drop_all)
    await engine.dispose()


async def count(engine: AsyncEngine, row_id: UUID, state: str) -> int:
    async with engine.connect() as conn:
        statement = sa.select(sa.func.count()).where(rows.c.row_id == row_id, rows.c.state == state)
        return int((await conn.execute(statement)).scalar_one())


async def test_rows_are_tuples_in_the_order_of_the_columns(engine: AsyncEngine) -> None:
    row_id = uuid4()
    async with engine.begin() as conn:
        assert await INSERT.execute(conn, {"row": row_id, "count": 3}) == [(row_id, "new", 3)]
        assert await AGE.execute(conn, {"row": row_id}) == []
    assert await count(engine, row_id, "old") == 1


async def test_statement_is_part_of_the_transaction_of_its_connection(engine: AsyncEngine) -> None:
    row_id = uuid4()
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as conn:
            await INSERT.execute(conn, {"row": row_id, "count": 3})
            raise ZeroDivisionError
    assert await count(engine, row_id, "new") == 0


async def test_autocommit_connection_commits_the_statement(engine: AsyncEngine) -> None:
    row_id = uuid4()
    async with postgres.autocommit(engine).connect() as conn:
        await INSERT.execute(conn, {"row": row_id, "count": 3})
    assert await count(engine, row_id, "new") == 1


async def test_statement_commits_in_its_round_trip(engine: AsyncEngine) -> None:
    row_id = uuid4()
    with pytest.raises(ZeroDivisionError):
        async with transactions.begin(engine) as conn:
            await INSERT.execute(conn, {"row": row_id, "count": 3}, commit=True)
            assert await count(engine, row_id, "new") == 1
            raise ZeroDivisionError
    assert await count(engine, row_id, "new") == 1


async def test_statement_that_fails_does_not_commit_the_transaction(engine: AsyncEngine) -> None:
    row_id, other = uuid4(), uuid4()
    async with engine.begin() as conn:
        await INSERT.execute(conn, {"row": row_id, "count": 3})
    with pytest.raises(exc.IntegrityError):
        async with transactions.begin(engine) as conn:
            await INSERT.execute(conn, {"row": other, "count": 3})
            await INSERT.execute(conn, {"row": row_id, "count": 3}, commit=True)
    assert await count(engine, other, "new") == 0
    async with transactions.begin(engine) as conn:
        await INSERT.execute(conn, {"row": other, "count": 3})
    assert await count(engine, other, "new") == 1


async def test_statements_are_prepared_again_when_a_rollback_has_forgotten_them(engine: AsyncEngine) -> None:
    row_id = uuid4()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with engine.begin() as conn:
                for _ in range(3):  # psycopg prepares it, and forgets all prepared statements with the rollback
                    await conn.execute(sa.text("SELECT 1"))
                await INSERT.execute(conn, {"row": row_id, "count": 3})
                raise ZeroDivisionError
    assert await count(engine, row_id, "new") == 0


async def test_statements_beyond_the_limit_are_not_prepared(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trips, "PREPARED_LIMIT", 3)
    async with postgres.autocommit(engine).connect() as conn:
        for number in range(6):
            assert await Prepared(sa.text(f"SELECT {number}")).execute(conn, {}) == [(number,)]
        prepared = Prepared(sa.text("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'statement%'"))
        assert await prepared.execute(conn, {}) == [(3,)]


async def test_statement_begins_a_transaction_of_the_isolation_level_of_its_connection(engine: AsyncEngine) -> None:
    show = Prepared(sa.text("SHOW transaction_isolation"))
    async with engine.execution_options(isolation_level="REPEATABLE READ").connect() as conn:
        assert await show.execute(conn, {}) == [("repeatable read",)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", True),
        ("bigint", -(2**63)),
        ("double precision", 1 / 3),
        ("text", "a 'quoted' \\ text with {braces}, ü and 🙂"),
        ("bytea", b"\x00\xff'"),
        ("uuid", UUID(int=2**127 + 1)),
        ("timestamptz", datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("interval", timedelta(days=-3, seconds=7, microseconds=1)),
        ("text[]", ["a", 'b"c', "\\", "", "NULL"]),
        ("numeric", Decimal("123456789.000000001")),
        ("text", None),
    ],
)
async def test_value_arrives_as_it_was_sent(engine: AsyncEngine, kind: str, value: object) -> None:
    echo = Prepared(sa.text(f"SELECT CAST(:value AS {kind})"))
    async with engine.connect() as conn:
        for sent in (value, None, value):
            assert await echo.execute(conn, {"value": sent}) == [(sent,)]


async def test_values_have_their_types_where_the_statement_does_not_name_them(engine: AsyncEngine) -> None:
    ago = Prepared(sa.text("SELECT now() - (now() - :age)"))
    before = Prepared(sa.text("SELECT :at - interval '1 day'"))
    is_zero = Prepared(sa.text("SELECT :count = 0"))
    async with engine.connect() as conn:
        assert await ago.execute(conn, {"age": timedelta(hours=3)}) == [(timedelta(hours=3),)]
        at = datetime(2026, 2, 28, tzinfo=UTC)
        assert await before.execute(conn, {"at": at}) == [(at - timedelta(days=1),)]
        for number in (0, 2**31, 0, -(2**63)):
            assert await is_zero.execute(conn, {"count": number}) == [(number == 0,)]


async def test_text_with_a_nul_is_refused_and_leaves_the_connection_usable(engine: AsyncEngine) -> None:
    echo = Prepared(sa.text("SELECT CAST(:value AS text)"))
    async with engine.connect() as conn:
        with pytest.raises(exc.DataError, match="NUL"):
            await echo.execute(conn, {"value": "a\0b"})
        assert await echo.execute(conn, {"value": "ab"}) == [("ab",)]


async def test_statement_of_a_cancelled_task_ends_and_leaves_the_connection_usable(engine: AsyncEngine) -> None:
    sleep = Prepared(sa.text("SELECT pg_sleep(:seconds)"))
    async with engine.connect() as conn:
        await sleep.execute(conn, {"seconds": 0.0})
        sleeping = asyncio.create_task(sleep.execute(conn, {"seconds": 600.0}))
        while driver_connection(conn).pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
            await asyncio.sleep(0)
        sleeping.cancel()
        async with asyncio.timeout(30):
            with pytest.raises(asyncio.CancelledError):
                await sleeping
        driver = driver_connection(conn)
    async with engine.connect() as conn:
        assert driver_connection(conn) is driver
        assert await sleep.execute(conn, {"seconds": 0.0}) == [("",)]


async def test_violated_constraint_raises_the_error_of_sqlalchemy(engine: AsyncEngine) -> None:
    row_id = uuid4()
    async with engine.begin() as conn:
        await INSERT.execute(conn, {"row": row_id, "count": 3})
    with pytest.raises(exc.IntegrityError) as excinfo:
        async with engine.begin() as conn:
            await INSERT.execute(conn, {"row": row_id, "count": 3})
    assert postgres.violated_constraint(excinfo.value) == "prepared_rows_pkey"


async def test_statement_whose_own_transaction_does_not_commit_fails_and_leaves_the_connection_usable(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            sa.text("ALTER TABLE prepared_rows ADD CONSTRAINT of_count UNIQUE (count) DEFERRABLE INITIALLY DEFERRED")
        )
    async with postgres.autocommit(engine).connect() as conn:
        await INSERT.execute(conn, {"row": uuid4(), "count": 3})
        with pytest.raises(exc.IntegrityError) as excinfo:
            await INSERT.execute(conn, {"row": uuid4(), "count": 3})
        assert postgres.violated_constraint(excinfo.value) == "of_count"
        assert len(await INSERT.execute(conn, {"row": uuid4(), "count": 4})) == 1


async def test_connection_that_the_server_closes_raises_its_reason(engine: AsyncEngine) -> None:
    end = Prepared(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with pytest.raises(exc.OperationalError) as excinfo:
        async with transactions.begin(engine) as conn:
            await end.execute(conn, {})
    assert isinstance(excinfo.value.__cause__, psycopg.errors.AdminShutdown)


async def test_missing_parameter_is_an_error_and_not_null(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        with pytest.raises(TypeError, match="count"):
            await INSERT.execute(conn, {"row": uuid4()})


@pytest.mark.parametrize("statement", [INSERT, sa.text("SELECT 1"), None], ids=["prepared", "SQLAlchemy", "COMMIT"])
async def test_transaction_that_the_server_ended_means_that_the_database_is_unavailable(
    engine: AsyncEngine, statement: Prepared | sa.TextClause | None
) -> None:
    has_ended = sa.text("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = :pid)")
    with pytest.raises(exc.DBAPIError) as excinfo:
        async with transactions.begin(engine) as conn, postgres.autocommit(engine).connect() as other:
            driver = driver_connection(conn)
            await driver.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            while not await other.scalar(has_ended, {"pid": driver.info.backend_pid}):
                await asyncio.sleep(0.01)
            if isinstance(statement, Prepared):
                await statement.execute(conn, {"row": uuid4(), "count": 3})
            elif statement is not None:
                await conn.execute(statement)
    assert isinstance(postgres.translate(excinfo.value), errors.Unavailable)


async def test_lost_connection_means_that_the_database_is_unavailable(engine: AsyncEngine) -> None:
    row_id = uuid4()
    with pytest.raises(exc.DBAPIError) as excinfo:
        async with engine.begin() as conn:
            pid = (await conn.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
            async with engine.connect() as other:
                await other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await INSERT.execute(conn, {"row": row_id, "count": 3})
    assert isinstance(postgres.translate(excinfo.value), errors.Unavailable)
    async with engine.begin() as conn:
        assert await INSERT.execute(conn, {"row": row_id, "count": 4}) == [(row_id, "new", 4)]
