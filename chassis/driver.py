"""psycopg's connection, whose socket the event loop watches as long as it is open.

psycopg adds the socket to the event loop for each wait and removes it afterwards. With uvloop this takes eight system calls and a
timer per statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import time
import weakref
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import abc, generators, pq, waiting

from chassis.round_trips import RoundTrips, Rows

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 5.0
"""Time to end the statement of a cancelled task in the server. After it the connection is closed."""
CANCEL_RETRY_SECONDS = 0.5
"""Seconds between two requests to end a statement. The server ignores a request that arrives before the statement."""
ANSWER_SECONDS = 20.0
"""Time for which a statement waits for data of the server, which ends a statement after 10 s. After it the connection is closed.

A frozen server, such as a former primary, keeps its connections open. Calls have deadlines; background loops and handlers
of messages would wait for it as long as it is frozen.
"""
CHECK_SECONDS = 1.0
"""Seconds between two checks of a socket that a statement waits for: the event loop does not report every closed connection."""

Result = TypeVar("Result")


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that waits for the server without system calls of its own."""

    _round_trips: RoundTrips | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _watched_socket: int = -1
    """The socket that the event loop watches, or -1. It is closed only after its removal from the loop."""
    _readable: asyncio.Future[bool] | None = None
    """Whether the socket is readable; False if that must be checked. None while no data is expected."""
    _check: asyncio.TimerHandle | None = None

    async def wait(
        self, gen: abc.PQGen[Result], interval: float = CHECK_SECONDS, timeout: float | None = None
    ) -> Result:
        """Run an operation of the driver to its end. Cancelling the task cancels its statement in the server."""
        if timeout is not None:
            self._stop_watching()
            return await super().wait(gen, CHECK_SECONDS, timeout)
        rest: Generator[Any, Any, Result] | None = None
        try:
            event = next(gen)
            while event == waiting.WAIT_R:
                await self._wait_readable()
                event = gen.send(waiting.READY_R)
            # The socket takes no more data now.
            rest = _resume_at(event, gen)
            return await self._wait_unwatched(rest, ANSWER_SECONDS)
        except StopIteration as end:
            result: Result = end.value
            return result
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
                rest = rest or _resume_at(event, gen)
                await _complete(self._end_statement(rest, is_sending_rows=event == waiting.WAIT_W))
            raise
        except psycopg.errors._WaitTimeout:
            await self.close()
            raise _no_answer() from None
        except BaseException:
            if self.closed:
                self._stop_watching()  # libpq has closed the socket
            raise

    async def execute_prepared(self, query: bytes, parameters: Sequence[Any], *, commit: bool) -> Rows:
        """Execute a statement with PostgreSQL's own placeholders ($1), prepared unless behind a pooler; return its rows.

        Begin its transaction if none is open; with `commit`, end it. Raises the errors of psycopg.
        """
        if self._round_trips is None:
            self._round_trips = RoundTrips(self)
        async with self.lock:
            return await self.wait(self._round_trips.execute(self, query, parameters, commit=commit))

    async def close(self) -> None:
        """Close the connection. A statement that is running fails at its next check."""
        self._stop_watching()
        await super().close()

    def _deallocate(self, name: bytes | None) -> abc.PQGen[None]:
        """Deallocate a statement that psycopg has prepared. None: psycopg deallocates all after a ROLLBACK."""
        if name is None and self._round_trips is not None:
            self._round_trips.forget()
        return super()._deallocate(name)

    def __del__(self, *args: Any) -> None:
        """Remove the socket of an unclosed connection from the event loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._stop_watching()
        super().__del__(*args)

    async def _wait_readable(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        is_readable = False
        deadline = self._loop.time() + ANSWER_SECONDS
        while not is_readable:
            if self._watched_socket < 0:
                if self.closed or has_event(self.pgconn.socket):
                    return
                if self._loop.time() >= deadline:
                    await self.close()
                    raise _no_answer()
                self._watched_socket = self.pgconn.socket
                self._loop.add_reader(self._watched_socket, _on_readable, weakref.ref(self))
            if self._check is None:
                self._check = self._loop.call_later(CHECK_SECONDS, _on_check, weakref.ref(self))
            self._readable = self._loop.create_future()
            try:
                is_readable = await self._readable
            finally:
                self._readable = None

    def _wake(self, *, is_readable: bool) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(is_readable)

    def _stop_watching(self) -> None:
        if self._watched_socket >= 0 and self._loop is not None:
            self._loop.remove_reader(self._watched_socket)
            self._watched_socket = -1

    async def _wait_unwatched(self, gen: abc.PQGen[Result], timeout: float) -> Result:
        """Wait as psycopg does, but without its answer to a cancellation."""
        self._stop_watching()
        return await waiting.wait_async(gen, self.pgconn.socket, CHECK_SECONDS, timeout)

    async def _end_statement(self, gen: abc.PQGen[Any], *, is_sending_rows: bool) -> None:
        """End a statement, and a COPY that it has begun. psycopg itself ends a COPY whose rows are being sent."""
        deadline = time.monotonic() + CANCEL_SECONDS
        is_running = True
        try:
            while is_running:
                await self.cancel_safe(timeout=CANCEL_SECONDS)
                try:
                    await self._wait_unwatched(gen, CANCEL_RETRY_SECONDS)
                    is_running = False
                    if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE and not is_sending_rows:
                        await self._wait_unwatched(generators.copy_end(self.pgconn, b"cancelled"), CANCEL_SECONDS)
                except psycopg.errors._WaitTimeout:
                    if time.monotonic() > deadline:
                        raise
        except psycopg.errors.QueryCanceled:
            pass  # as requested
        except BaseException as error:
            logger.warning("a cancelled statement did not end", extra={"cause": repr(error)[:200]})
            await self.close()  # its state is unknown
            if not isinstance(error, Exception):
                raise


def _no_answer() -> psycopg.OperationalError:
    return psycopg.OperationalError("the server does not answer")


def has_event(descriptor: int) -> bool:
    """Return whether a socket has data, or has ended."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def _on_readable(reference: weakref.ref[Connection]) -> None:
    connection = reference()
    if connection is None:
        return
    if connection._readable is None:
        # Nothing is expected: the server has closed the connection, or sent a notice. The next wait watches again.
        connection._stop_watching()
    connection._wake(is_readable=True)


def _on_check(reference: weakref.ref[Connection]) -> None:
    connection = reference()
    if connection is not None:
        connection._check = None
        if connection._readable is not None:
            connection._stop_watching()
            connection._wake(is_readable=False)


async def _complete(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end in a task that is being cancelled, also when it is cancelled again.

    At the deadline of a call its task is cancelled by the deadline, and again by gRPC.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _resume_at(event: Any, gen: abc.PQGen[Result]) -> Generator[Any, Any, Result]:
    """Return a generator that continues `gen`, which waits for `event`. Several waits in turn may continue it."""
    while True:
        try:
            if ready := (yield event):  # None at the beginning of a wait
                event = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result
