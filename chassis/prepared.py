"""Statements of hot paths: SQLAlchemy compiles each of them once, and the driver executes it.

SQLAlchemy's execution costs about three times as much as psycopg's: a greenlet, a cursor result and its metadata each time.
A `Prepared` statement keeps what SQLAlchemy is for (tables, types, transactions, the pool) and skips the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

import psycopg
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ClauseElement

from chassis.driver import Connection

_EXPANDING = re.compile(r"__\[POSTCOMPILE_(\w+)\]")
_PLACEHOLDER = re.compile(r"%%|%\((\w+)\)s")
_dialect = PGDialectAsync_psycopg()  # type: ignore[no-untyped-call]


class Prepared:
    """A statement that is compiled once, and prepared on each connection when it first executes there.

    `IN` takes constant lists only; use `= ANY(:names)` with a parameter. Values are what psycopg adapts;
    lists are passed as literals, so the statement names the type of an array.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_dialect)
        self._required = {name for name, bind in getattr(compiled, "binds", {}).items() if bind.required}
        self._literals = {name: value for name, value in (compiled.params or {}).items() if name not in self._required}
        self.sql, self._order = _number_placeholders(_EXPANDING.sub(self._expand, str(compiled)))
        # The driver would encode a text, and search a pyformat statement of more than 4 KiB for placeholders, at each execution.
        self._query = self.sql.encode()

    def _expand(self, match: re.Match[str]) -> str:
        """Return the parameters of a constant list: SQLAlchemy writes them only when it executes the statement."""
        names = {f"{match[1]}_{position}": value for position, value in enumerate(self._literals.pop(match[1]))}
        self._literals |= names
        return ", ".join(f"%({name})s" for name in names)

    async def execute(
        self, conn: AsyncConnection, parameters: Mapping[str, Any], *, commit: bool = False
    ) -> list[tuple[Any, ...]]:
        """Execute in the transaction of `conn` and return the rows, each a tuple in the order of the columns.

        Return an empty list for a statement that returns no rows. With `commit` the transaction ends in the same round trip.
        Raise the errors of SQLAlchemy, and `TypeError` for a missing parameter.
        """
        if missing := self._required - parameters.keys():
            raise TypeError(f"the statement lacks {', '.join(sorted(missing))}")
        values = {**self._literals, **parameters}
        try:
            return await driver_connection(conn).execute_prepared(
                self._query, [values[name] for name in self._order], commit=commit
            )
        except psycopg.Error as error:
            await fail(conn, self.sql, error)


def _number_placeholders(pyformat: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with PostgreSQL's own placeholders ($1), and the names of its parameters in their order."""
    positions: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${positions.setdefault(match[1], len(positions) + 1)}" if match[1] else "%"

    return _PLACEHOLDER.sub(number, pyformat), tuple(positions)


async def fail(conn: AsyncConnection, sql: str, error: psycopg.Error) -> NoReturn:
    """Raise the error of the driver as that of SQLAlchemy. A closed connection leaves the pool."""
    if driver_connection(conn).closed:
        await conn.invalidate(error)
    raise exc.DBAPIError.instance(sql, None, error, psycopg.Error, dialect=_dialect) from error


def driver_connection(conn: AsyncConnection) -> Connection:
    """Return the driver's connection below SQLAlchemy's. Both are in the same transaction."""
    sync = conn.sync_connection
    assert sync is not None  # noqa: S101 - only an opened connection gets here
    driver = sync.connection.driver_connection
    assert isinstance(driver, Connection)  # noqa: S101 - `chassis.postgres` opens all connections
    return driver
