"""Statements that SQLAlchemy compiles and the driver executes: same transaction, same errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from chassis.prepared import Prepared
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


async def test_violated_constraint_raises_the_error_of_sqlalchemy(engine: AsyncEngine) -> None:
    row_id = uuid4()
    async with engine.begin() as conn:
        await INSERT.execute(conn, {"row": row_id, "count": 3})
    with pytest.raises(exc.IntegrityError) as raised:
        async with engine.begin() as conn:
            await INSERT.execute(conn, {"row": row_id, "count": 3})
    assert postgres.violated_constraint(raised.value) == "prepared_rows_pkey"


async def test_missing_parameter_is_an_error_and_not_null(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        with pytest.raises(TypeError, match="count"):
            await INSERT.execute(conn, {"row": uuid4()})


async def test_lost_connection_means_that_the_database_is_unavailable(engine: AsyncEngine) -> None:
    row_id = uuid4()
    with pytest.raises(exc.DBAPIError) as raised:
        async with engine.begin() as conn:
            pid = (await conn.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
            async with engine.connect() as other:
                await other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await INSERT.execute(conn, {"row": row_id, "count": 3})
    translated = postgres.translate(raised.value)
    assert translated is not None
    assert translated.code == "database_unavailable"
    async with engine.begin() as conn:
        assert await INSERT.execute(conn, {"row": row_id, "count": 4}) == [(row_id, "new", 4)]
