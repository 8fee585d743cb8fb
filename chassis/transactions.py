"""Transactions of hot paths: they use connections that stay checked out of SQLAlchemy's pool.

A transaction of two statements takes its client 1.7 ms with `engine.begin()` and 1.1 ms with `begin`
(`python -m bench.transactions`). The pool still opens, counts and replaces the connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import pq
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import postgres, tracing
from chassis.prepared import driver_connection, fail

KEPT_CONNECTIONS = 4
"""Connections of an engine that stay checked out, at most half of its pool. The others return to it after each transaction."""
KEEP_SECONDS = 300.0
"""Time after which a connection returns to the pool, which replaces the old ones."""


_idle_connections: WeakKeyDictionary[Engine, _Kept] = WeakKeyDictionary()


@asynccontextmanager
async def begin(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction. Commit it at the end of the block; roll it back after an exception.

    On a `postgres.autocommit` engine each statement is a transaction of its own. Raises the errors of SQLAlchemy, as
    `engine.begin()` does.
    """
    idle = _idle_connections.get(engine.sync_engine) or _Kept(engine)
    conn, until = await idle.take(engine)
    try:
        with tracing.span("transaction"):
            yield conn
            await _commit(conn)
    except BaseException as error:
        if postgres.is_unusable(error):
            await idle.close()
        await _release(conn)  # rolls back
        raise
    if not idle.keep(conn, until):
        await _release(conn)


async def _release(conn: AsyncConnection) -> None:
    """Return a connection to the pool, also when the task is cancelled meanwhile."""
    await asyncio.shield(asyncio.ensure_future(conn.close()))


async def _commit(conn: AsyncConnection) -> None:
    """Commit by the driver, unless SQLAlchemy has executed a statement and has a transaction to end."""
    if conn.in_transaction():
        await conn.commit()
        return
    driver = driver_connection(conn)
    if driver.pgconn.transaction_status == pq.TransactionStatus.IDLE:
        return  # the last statement has committed
    try:
        await driver.commit()
    except psycopg.Error as error:
        await fail(conn, "COMMIT", error)


class _Kept:
    """The connections of an engine that stay checked out, while no transaction uses them."""

    def __init__(self, engine: AsyncEngine) -> None:
        pool: Any = engine.pool
        self._limit = min(KEPT_CONNECTIONS, pool.size() // 2)
        self._connections: list[tuple[AsyncConnection, float]] = []
        """Each with the time until which it is kept; the last one was used last."""
        _idle_connections[engine.sync_engine] = self
        event.listen(engine.sync_engine, "engine_disposed", lambda _: self._dispose())

    async def take(self, engine: AsyncEngine) -> tuple[AsyncConnection, float]:
        """Return the connection used last, or one of the pool, and the time until which it is kept."""
        while self._connections:
            conn, until = self._connections.pop()
            if not postgres.is_closed(driver_connection(conn)):
                return conn, until
            await _discard(conn)
        return await engine.connect(), time.monotonic() + KEEP_SECONDS

    def keep(self, conn: AsyncConnection, until: float) -> bool:
        """Keep an idle connection. Return whether there is room for it."""
        has_room = len(self._connections) < self._limit and time.monotonic() < until
        if has_room:
            self._connections.append((conn, until))
        return has_room

    async def close(self) -> None:
        """Close the idle connections, so that the next transactions connect again."""
        connections, self._connections = self._connections, []
        for conn, _ in connections:
            await _discard(conn)

    def _dispose(self) -> None:
        """Close the idle connections with their engine."""
        connections, self._connections = self._connections, []
        for conn, _ in connections:
            if conn.sync_connection is not None:
                conn.sync_connection.invalidate()
                conn.sync_connection.close()


async def _discard(conn: AsyncConnection) -> None:
    await conn.invalidate()
    await conn.close()
