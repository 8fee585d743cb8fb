"""Spans of SQL: a connection to PostgreSQL that records its statements, without their parameters."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg

from chassis import driver, tracing
from chassis.round_trips import Rows
from chassis.tracing.spans import MAX_TEXT

MAX_NAME = 100
_FIRST_WORD = re.compile(r"\s*(\w+)")
_TABLE = r'\s+"?([a-z_]+)"?\."?([a-z_]+)"?'
_WRITES = re.compile(rf"\b(INSERT INTO|UPDATE|DELETE FROM|COPY){_TABLE}", re.IGNORECASE)
_READS = re.compile(rf"\b(FROM){_TABLE}", re.IGNORECASE)


@functools.lru_cache(maxsize=1_000)
def _describe(statement: str) -> tuple[str, tracing.Attributes]:
    """Return the name and the attributes of the span of a statement: the tables that it writes, or the first that it reads."""
    targets = _WRITES.findall(statement) or _READS.findall(statement)[:1]
    first = _FIRST_WORD.match(statement)
    names = [
        f"{words.split()[0].upper().replace('FROM', 'SELECT')} {schema}.{table}" for words, schema, table in targets
    ]
    name = ", ".join(dict.fromkeys(names))[:MAX_NAME] or (first[1].upper() if first else "SQL")
    return name, {"db.system.name": "postgresql", "db.query.summary": name, "db.query.text": statement[:MAX_TEXT]}


class Cursor(psycopg.AsyncCursor[Any]):
    """A cursor whose statements are spans."""

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        name, attributes = _describe(_text(query, self.connection))
        with tracing.span(name, "client", attributes):
            return await super().execute(query, *args, **kwargs)

    async def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """Execute a statement for several sets of parameters."""
        name, attributes = _describe(_text(query, self.connection))
        with tracing.span(name, "client", attributes):
            await super().executemany(query, *args, **kwargs)

    @asynccontextmanager
    async def copy(self, statement: Any, *args: Any, **kwargs: Any) -> AsyncIterator[psycopg.AsyncCopy]:
        name, attributes = _describe(_text(statement, self.connection))
        with tracing.span(name, "client", attributes):
            async with super().copy(statement, *args, **kwargs) as copy:
                yield copy


class Connection(driver.Connection):
    """A connection whose statements and commits are spans."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = Cursor

    async def execute_prepared(self, query: bytes, parameters: Sequence[Any], *, commit: bool) -> Rows:
        name, attributes = _describe(query.decode())
        with tracing.span(f"{name}, COMMIT" if commit else name, "client", attributes):
            return await super().execute_prepared(query, parameters, commit=commit)

    async def commit(self) -> None:
        with tracing.span("COMMIT", "client", {"db.system.name": "postgresql"}):
            await super().commit()


def _text(query: Any, connection: psycopg.AsyncConnection[Any]) -> str:
    if isinstance(query, str):
        return query
    return query.decode() if isinstance(query, bytes) else str(query.as_string(connection))
