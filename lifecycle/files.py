"""A resource that is a file: a job writes it to the database in chunks, and it is deleted after some time."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, outbox, postgres, transactions
from lifecycle.declaration import Lifecycle
from lifecycle.file_states import Action, File

logger = logging.getLogger(__name__)

EXPIRED_BATCH = 20
MAX_FAILURES = 20
"""Failures that end a pass: the database does not answer. The next pass begins with other files."""

F = TypeVar("F", bound=File)


def chunk_table(name: str, files: sa.Table) -> sa.Table:
    """Return the table of the chunks of files; the primary key of the table `files` is their owner."""
    (owner,) = files.primary_key
    return sa.Table(
        name,
        files.metadata,
        sa.Column(owner.name, sa.ForeignKey(owner), primary_key=True),
        sa.Column("generation", sa.BigInteger, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


class Chunks(Generic[F]):
    """The chunks of all files of a service, in a `chunk_table`."""

    def __init__(self, table: sa.Table, *, replaced_code: str) -> None:
        """Take the table, and the code of the error for a file that is replaced while it is read."""
        self._table = table
        self._replaced_code = replaced_code
        self._owner, self._generation, self._position = table.primary_key.columns

    async def write(self, conn: AsyncConnection, file: F, data: bytes) -> None:
        """Write the next chunk."""
        (owner,) = file.key
        key = {self._owner: owner, self._generation: file.generation, self._position: file.chunk_count}
        await conn.execute(sa.insert(self._table).values({**key, self._table.c.data: data}))

    async def delete(self, conn: AsyncConnection, file: F) -> None:
        """Delete all chunks of the owner, of every generation."""
        await conn.execute(sa.delete(self._table).where(self._owner == file.key[0]))

    async def read(self, engine: AsyncEngine, file: F) -> AsyncGenerator[bytes, None]:
        """Yield the chunks in order. Raises `Aborted` if the file is replaced or deleted meanwhile."""
        single = postgres.autocommit(engine)
        of_file = (self._owner == file.key[0], self._generation == file.generation)
        for position in range(file.chunk_count):
            # A connection for each chunk: a slow reader holds none.
            async with single.connect() as conn:
                statement = sa.select(self._table.c.data).where(*of_file, self._position == position)
                data: bytes | None = await conn.scalar(statement)
            if data is None:
                raise errors.Aborted("The file was replaced or deleted.", code=self._replaced_code)
            yield data


async def expire(
    lifecycle: Lifecycle[F, Action], *, age: timedelta, engine: AsyncEngine, relay: outbox.Sender | None
) -> int:
    """Delete the files, and failures, that have not changed for `age`, each in its own transaction; return how many.

    One that fails does not stop the others.
    """
    single = postgres.autocommit(engine)
    total, failures, count = 0, 0, EXPIRED_BATCH
    while count == EXPIRED_BATCH and failures < MAX_FAILURES:
        async with transactions.begin(single) as conn:
            files = await lifecycle.rows.take_unchanged(conn, Action.EXPIRE, unchanged_for=age, limit=EXPIRED_BATCH)
        for file in files:
            try:
                total += await _expire(lifecycle, file, engine, relay)
            except Exception:
                logger.exception("file not expired", extra={"generation": file.generation})
                failures += 1
        count = len(files)
    return total


async def _expire(lifecycle: Lifecycle[F, Action], file: F, engine: AsyncEngine, relay: outbox.Sender | None) -> bool:
    """Delete a file unless it has changed; return whether it was deleted."""
    async with outbox.transaction(engine, lifecycle.outbox_table, relay) as tx:
        current = await lifecycle.rows.get(tx.conn, file.key, lock=True)
        if current.version != file.version:
            return False
        await lifecycle.move_locked(tx, current, Action.EXPIRE)
    return True
