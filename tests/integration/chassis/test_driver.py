"""The driver's connection, whose socket the event loop watches as long as it is open."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
import uvloop

from chassis import driver
from chassis.driver import Connection
from dev.embedded import EmbeddedServers

DEADLINE = 60.0
LARGE = b"x" * 32 * 1024 * 1024
"""More than the buffers of a socket hold."""


Use = Callable[[Connection, str], Awaitable[None]]
"""Uses a connection; gets the URL of its server, too."""


@pytest.fixture
def run(servers: EmbeddedServers) -> Callable[[Use], None]:
    """Return a function that uses a connection in the event loop of the services: it keeps accounts of the sockets it watches."""

    def run_use(use: Use) -> None:
        async def connect_and_use() -> None:
            async with connected(servers.postgres.url) as conn:
                await use(conn, servers.postgres.url)

        uvloop.run(connect_and_use())

    return run_use


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Open a connection that commits each statement."""
    opened = await Connection.connect(url, autocommit=True)
    try:
        yield opened
    finally:
        await opened.close()


async def value(conn: Connection, query: str = "SELECT 1") -> object:
    """Return the only value of a query."""
    async with asyncio.timeout(DEADLINE):
        row = await (await conn.execute(query)).fetchone()
    assert row
    return row[0]


def test_statement_of_a_cancelled_task_ends_in_the_server(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        for _ in range(3):
            statement = asyncio.create_task(conn.execute("SELECT pg_sleep(600)"))
            while conn.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
                await asyncio.sleep(0)
            statement.cancel()
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(asyncio.CancelledError):
                    await statement
            assert await value(conn) == 1

    run(use)


def test_statement_of_a_task_that_is_cancelled_again_and_again_ends_in_the_server(run: Callable[[Use], None]) -> None:
    """A deadline and gRPC cancel the task of a call. A closed connection would leave the statement to the server."""

    async def use(conn: Connection, url: str) -> None:
        statement = asyncio.create_task(conn.execute("SELECT pg_sleep(600)"))
        while conn.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE):
            while not statement.done():
                statement.cancel()
                await asyncio.sleep(0)
        assert statement.cancelled()
        assert await value(conn) == 1

    run(use)


async def begin_copy(conn: Connection) -> None:
    async with conn.cursor() as cursor, cursor.copy("COPY numbers FROM STDIN"):
        pass


async def send_large(conn: Connection) -> None:
    await conn.execute("SELECT pg_sleep(600), %b::bytea", [LARGE])


async def sleep(conn: Connection) -> None:
    await conn.execute("SELECT pg_sleep(600)")


@pytest.mark.parametrize("statement", [sleep, send_large, begin_copy])
def test_cancellation_that_arrives_before_the_statement_leaves_the_connection_usable(
    servers: EmbeddedServers, statement: Callable[[Connection], Awaitable[None]]
) -> None:
    class Late(Connection):
        async def cancel_safe(self, *, timeout: float = DEADLINE) -> None:
            await super().cancel_safe(timeout=timeout)
            os.kill(self.info.backend_pid, signal.SIGCONT)

    async def use() -> None:
        async with await Late.connect(servers.postgres.url, autocommit=True) as conn:
            await conn.execute("CREATE TEMPORARY TABLE numbers (value bytea)")
            os.kill(conn.info.backend_pid, signal.SIGSTOP)
            running = asyncio.ensure_future(statement(conn))
            while conn.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
                await asyncio.sleep(0)
            running.cancel()
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(asyncio.CancelledError):
                    await running
            assert await value(conn) == 1

    uvloop.run(use())


def test_large_values_are_sent_and_received(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        for _ in range(2):
            async with asyncio.timeout(DEADLINE):
                cursor = await conn.execute("SELECT %b::bytea", [LARGE])
                assert await cursor.fetchone() == (LARGE,)
            assert await value(conn) == 1

    run(use)


def test_copy_larger_than_the_socket_takes(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        await conn.execute("CREATE TEMPORARY TABLE numbers (value bytea)")
        async with asyncio.timeout(DEADLINE), conn.cursor() as cursor, cursor.copy("COPY numbers FROM STDIN") as copy:
            for _ in range(4):
                await copy.write_row([LARGE])
        assert await value(conn, "SELECT sum(octet_length(value)) FROM numbers") == 4 * len(LARGE)

    run(use)


def test_message_that_nobody_expects_leaves_the_connection_usable(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        await conn.execute("LISTEN test_driver")
        async with connected(url) as other:
            for _ in range(2):
                await other.execute("NOTIFY test_driver")
                while not _has_data(conn):
                    await asyncio.sleep(0)
                await asyncio.sleep(0.01)  # passes of the event loop that see the message
                assert await value(conn) == 1

    run(use)


@pytest.mark.parametrize("is_sending", [False, True])
def test_frozen_server_keeps_no_statement_waiting(
    run: Callable[[Use], None], monkeypatch: pytest.MonkeyPatch, *, is_sending: bool
) -> None:
    monkeypatch.setattr(driver, "ANSWER_SECONDS", 1.0)

    async def use(conn: Connection, url: str) -> None:
        del url
        pid = conn.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(psycopg.OperationalError):
                    await conn.execute("SELECT %s", [LARGE if is_sending else b""])
        finally:
            os.kill(pid, signal.SIGCONT)
        assert conn.closed

    run(use)


def test_statement_may_take_its_time(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        del url
        assert await value(conn, "SELECT 1 FROM pg_sleep(2)") == 1

    run(use)


def test_closed_connection_fails_the_statement_that_waits(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        pid = conn.info.backend_pid
        statement = asyncio.create_task(conn.execute("SELECT pg_sleep(600)"))
        while conn.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
            await asyncio.sleep(0)
        await conn.close()
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(psycopg.OperationalError):
                await statement
        async with connected(url) as other:  # the server would not notice before the end of the statement
            await value(other, f"SELECT pg_terminate_backend({pid}, 5000)")

    run(use)


@pytest.mark.parametrize("is_waiting", [False, True])
def test_socket_of_a_lost_connection_is_forgotten(run: Callable[[Use], None], *, is_waiting: bool) -> None:
    """The next connection gets the same file descriptor, and must be watched as a new one."""

    async def use(conn: Connection, url: str) -> None:
        descriptor, pid = conn.fileno(), conn.info.backend_pid
        assert await value(conn) == 1
        statement = asyncio.create_task(conn.execute("SELECT pg_sleep(600)")) if is_waiting else None
        async with connected(url) as other:
            await value(other, f"SELECT pg_terminate_backend({pid}, 5000)")
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(psycopg.OperationalError):
                await (statement or conn.execute("SELECT 1"))
        assert conn.closed
        await _check_reuse(descriptor)

    run(use)


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
def test_socket_of_a_collected_connection_is_forgotten(run: Callable[[Use], None]) -> None:
    async def use(conn: Connection, url: str) -> None:
        lost = await Connection.connect(url, autocommit=True)
        assert await value(lost) == 1
        descriptor, reference = lost.fileno(), weakref.ref(lost)
        del lost
        gc.collect()
        assert reference() is None
        await _check_reuse(descriptor)

    run(use)


async def _check_reuse(descriptor: int) -> None:
    """Check that the next connection with this file descriptor receives what it is sent."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    # If the system chose the number, a file that the event loop opens for itself might get it.
    os.dup2(0, descriptor)
    near, far = socket.socketpair()
    os.dup2(near.fileno(), descriptor)
    near.close()
    with far:
        reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptor))
        far.sendall(b"hello\n")
        async with asyncio.timeout(DEADLINE):
            assert await reader.readline() == b"hello\n"
        writer.close()


def _has_data(conn: Connection) -> bool:
    with socket.socket(fileno=conn.fileno()) as peer:
        try:
            return bool(peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        finally:
            peer.detach()
