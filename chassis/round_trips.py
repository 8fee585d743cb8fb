"""Executes a statement in one round trip, with the BEGIN before the first and the COMMIT after the last one of a transaction.

psycopg sends BEGIN and COMMIT by round trips of their own, and makes a cursor and adapters for each execution. This module
sends the same messages in libpq's pipeline mode.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import psycopg
import psycopg.postgres
from psycopg import adapt, errors, generators, pq

from chassis import arrays

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from chassis.driver import Connection

Rows = list[tuple[Any, ...]]
PREPARED_LIMIT = 200
"""Statements that stay prepared on one connection. PostgreSQL parses further ones at each execution."""
_INFERRED = 0
_INTEGER_LIMIT = 2**31
_BIGINT = psycopg.postgres.types["int8"].oid
_OIDS: Mapping[type, int] = {
    datetime: psycopg.postgres.types["timestamptz"].oid,
    timedelta: psycopg.postgres.types["interval"].oid,
}
_FAILURES = {pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE, pq.ExecStatus.NONFATAL_ERROR}


class _Key(NamedTuple):
    """A statement and the types of its parameters."""

    query: bytes
    types: tuple[int, ...]


class _Sent(NamedTuple):
    """A command that was sent; a preparation with its name."""

    key: _Key
    name: bytes | None = None


_SYNC = _Sent(_Key(b"", ()))
"""The end of the commands. Its result can be an error: of a statement that is its own transaction, which commits there."""


class RoundTrips:
    """Executes statements on one connection, and remembers those that are prepared there."""

    def __init__(self, driver: Connection) -> None:
        # Not of the connection itself: a cycle would keep it from being closed with its last reference.
        self._adapters = adapt.Transformer(driver.adapters)
        self._names: dict[_Key, bytes] = {}
        self._prepared = 0

    def forget(self) -> None:
        """Prepare all statements again: the server has forgotten them."""
        self._names.clear()

    def execute(
        self, driver: Connection, query: bytes, parameters: Sequence[Any], *, commit: bool
    ) -> Generator[Any, Any, Rows]:
        """Execute a statement, begin its transaction if none is open, and with `commit` end it. For `Connection.wait`.

        Return the rows; none for a statement that returns none. Raises the errors of psycopg.
        """
        values = [None if value is None else self._value(value) for value in parameters]
        types = tuple([_type(value) for value in parameters])
        formats = [pq.Format.BINARY if type(value) is bytes else pq.Format.TEXT for value in parameters]
        pgconn = driver.pgconn
        is_idle = pgconn.transaction_status == pq.TransactionStatus.IDLE
        sent: list[_Sent] = []
        pgconn.enter_pipeline_mode()
        if is_idle and not driver.autocommit:
            sent += self._send(driver, driver._get_tx_start_command())
        sent += self._send(driver, query, types, values, formats)
        position = len(sent) - 1
        if commit:
            sent += self._send(driver, b"COMMIT")
        pgconn.pipeline_sync()
        sent.append(_SYNC)
        yield from generators.send(pgconn)
        results: list[PGresult] = []
        try:
            while fetched := (yield from generators.fetch_many(pgconn)):
                results += fetched
                if fetched[-1].status == pq.ExecStatus.PIPELINE_SYNC:
                    break
            pgconn.exit_pipeline_mode()
        except psycopg.OperationalError:
            self._check(sent, results)  # why the server has closed the connection
            raise
        self._check(sent, results)
        return self._rows(results[position])

    def _send(
        self,
        driver: Connection,
        query: bytes,
        types: tuple[int, ...] = (),
        values: Sequence[bytes | None] = (),
        formats: Sequence[int] = (),
    ) -> list[_Sent]:
        """Send a statement, and before it the command that prepares it, unless it is prepared."""
        pgconn, sent = driver.pgconn, []
        key = _Key(query, types)
        name = self._names.get(key)
        if name is None and driver.prepare_threshold is not None and len(self._names) < PREPARED_LIMIT:
            self._prepared += 1
            name = b"statement_%d" % self._prepared
            pgconn.send_prepare(name, query, types)
            sent.append(_Sent(key, name))
        if name is None:
            pgconn.send_query_params(query, values, types, formats)
        else:
            pgconn.send_query_prepared(name, values, formats)
        return [*sent, _Sent(key)]

    def _check(self, sent: Sequence[_Sent], results: Sequence[PGresult]) -> None:
        """Remember what was prepared. Raise the first error: PostgreSQL has skipped the commands after it."""
        for (key, name), result in zip(sent, results, strict=False):
            if result.status in _FAILURES:
                raise errors.error_from_result(result)
            if name is not None:
                self._names[key] = name

    def _value(self, value: Any) -> bytes:
        """Return a parameter in the format of its type: bytes are binary, all others text."""
        if type(value) is bytes:
            return value
        if type(value) is list:
            value = arrays.literal(value)
        encode = _TEXTS.get(type(value)) or self._adapters.get_dumper(value, adapt.PyFormat.TEXT).dump
        text = bytes(encode(value) or b"")
        # libpq would end the text there.
        if b"\0" in text:
            raise psycopg.DataError("PostgreSQL's text cannot contain NUL.")
        return text

    def _rows(self, result: PGresult) -> Rows:
        if not result.nfields:
            return []
        self._adapters.set_pgresult(result)
        try:
            return self._adapters.load_rows(0, result.ntuples, tuple)
        finally:
            self._adapters.set_pgresult(None)


def _type(value: Any) -> int:
    """Return the oid of a parameter's type, or 0: PostgreSQL infers it from the statement.

    It would infer an interval for the time in `$1 - interval '1 day'`, a time for the interval in `now() - $1`, and 32 bits for
    the number in `$1 = 0`.
    """
    if type(value) is int:
        return _INFERRED if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else _BIGINT
    return _OIDS.get(type(value), _INFERRED)


_TEXTS: Mapping[type, Callable[[Any], bytes]] = {
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"%d" % value,
    float: lambda value: repr(value).encode(),
    str: str.encode,
    UUID: lambda value: value.hex.encode(),
    datetime: lambda value: value.isoformat().encode(),
}
"""The text of a parameter by its exact type. psycopg's adapters convert the others."""
