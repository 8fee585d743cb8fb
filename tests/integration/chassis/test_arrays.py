"""Lists arrive as the arrays that they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.prepared import Prepared

TEXTS = ["", "NULL", "null", " ", '"', "\\", "{}", "{,}", "a,b", "'", "\n\t", "ü✓", "\\x00", '\\"', None]
ARRAYS: list[tuple[str, list[Any]]] = [
    ("text", TEXTS),
    ("text", []),
    ("text", [None]),
    ("uuid", [UUID(int=0), UUID(int=2**128 - 1), None]),
    ("bytea", [b"", b"\0\xff\\\"'", b"\\x00", None]),
    ("bigint", [0, -1, 2**63 - 1, -(2**63), None]),
    ("numeric", [2**70]),
    ("boolean", [True, False, None]),
    ("float8", [0.1, -1e300, float("inf"), 5e-324]),
    ("timestamptz", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), None]),
    ("timestamptz", [datetime(2026, 3, 29, 2, 30, fold=1, tzinfo=timezone(timedelta(hours=5, minutes=45)))]),
    ("interval", [timedelta(), timedelta(days=-1, microseconds=1), timedelta(days=40_000, seconds=86_399), None]),
]


@pytest.mark.parametrize(("type_", "values"), ARRAYS)
async def test_array_arrives_as_it_was_sent(
    database: Callable[[str], AsyncEngine], type_: str, values: list[Any]
) -> None:
    statement = Prepared(sa.text(f"SELECT CAST(:values AS {type_}[])"))
    async with database("jobs").connect() as conn:
        ((received,),) = await statement.execute(conn, {"values": values})
    assert received == values


async def test_text_with_a_nul_is_refused(database: Callable[[str], AsyncEngine]) -> None:
    async with database("jobs").connect() as conn:
        with pytest.raises(exc.DataError, match="NUL"):
            await Prepared(sa.text("SELECT CAST(:values AS text[])")).execute(conn, {"values": ["a\0b"]})
