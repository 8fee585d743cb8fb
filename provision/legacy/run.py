"""The import: table by table, batch by batch, each batch with its ledger in one transaction."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from chassis import database_url
from provision.legacy import ledger, mapping, report, target
from provision.legacy.ledger import Entry
from provision.legacy.mapping import Mapped
from provision.legacy.progress import Progress
from provision.legacy.source import CONNECTIONS, SHAPES, USERS, Row, Shape, Source

logger = logging.getLogger(__name__)

BATCH = 1_000
_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtextextended('import-legacy', 0))")
_OPTIONS = "-c statement_timeout=60s -c lock_timeout=10s"
_OwnedMapper = Callable[[Row, uuid.UUID, datetime], Mapped]


class AlreadyRunning(Exception):
    """Another import runs against this database."""


def run(source_url: str, target_url: str, *, dry_run: bool, batch: int = BATCH) -> dict[str, Any]:
    """Import what is not imported yet; return the report. Raises `UnfitSource` and `AlreadyRunning`.

    A dry run is the same in one transaction, which is rolled back: the addresses that it inserts cannot be registered
    until it ends.
    """
    source = Source(source_url)
    engine = sa.create_engine(
        database_url.for_sqlalchemy(target_url), poolclass=sa.NullPool, connect_args={"options": _OPTIONS}
    )
    try:
        with engine.connect() as conn:
            if not conn.execute(_LOCK).scalar_one():
                raise AlreadyRunning("another import runs against this database")
            conn.commit()
            with conn.begin() if dry_run else contextlib.nullcontext() as outer:
                importer = Importer(conn, is_one_transaction=dry_run)
                for shape in SHAPES:
                    if shape.table in source.tables:
                        importer.import_table(source, shape, batch)
                result = report.build(conn, source, dry_run=dry_run, new=importer.new)
                if outer:
                    outer.rollback()
            return result
    finally:
        engine.dispose()


class Importer:
    """Imports tables over one connection."""

    def __init__(self, conn: sa.Connection, *, is_one_transaction: bool) -> None:
        self._conn = conn
        self._is_one_transaction = is_one_transaction
        self.new: dict[str, int] = {}
        """How many rows this run has imported, by table."""
        with self._transaction():
            ledger.create(conn)

    def import_table(self, source: Source, shape: Shape, size: int) -> None:
        """Import the rows of a table that the ledger does not name as imported."""
        progress = Progress(shape.table, source.count(shape.table))
        self.new[shape.table] = 0
        for rows in source.batches(shape, size=size):
            with self._transaction():
                self._import_batch(shape, rows)
            progress.advance(len(rows))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with contextlib.nullcontext() if self._is_one_transaction else self._conn.begin():
            yield

    def _import_batch(self, shape: Shape, rows: Sequence[Row]) -> None:
        before = ledger.read(self._conn, shape.table, [str(row["id"]) for row in rows])
        todo = [row for row in rows if (entry := before.get(str(row["id"]))) is None or entry.target_id is None]
        if not todo:
            return
        now = datetime.now(UTC)
        if shape is USERS:
            entries = self._users(todo, now)
        elif shape is CONNECTIONS:
            entries = self._connections(todo, now)
        else:
            entries = self._jobs(todo, now)
        ledger.write(self._conn, shape.table, [each for each in entries if each != before.get(each.legacy_id)])
        self.new[shape.table] += sum(entry.target_id is not None for entry in entries)

    def _users(self, rows: Sequence[Row], now: datetime) -> list[Entry]:
        mapped = [(row, mapping.user(row, now)) for row in rows]
        # Of one address the row with the lowest id is imported.
        first: dict[str, Mapped] = {}
        for _, each in mapped:
            if each.values:
                first.setdefault(each.values["email"], each)
        users = [each.values for each in first.values() if each.values]
        demo_modes = [each.demo for each in first.values() if each.demo]
        inserted = target.insert_users(self._conn, users, demo_modes)
        entries = []
        for row, each in mapped:
            if each.values and (first[each.values["email"]] is not each or each.values["user_id"] not in inserted):
                each = Mapped(None, ["email_taken"])
            entries.append(_entry(row, each, each.values["user_id"] if each.values else None))
        return entries

    def _connections(self, rows: Sequence[Row], now: datetime) -> list[Entry]:
        mapped = self._of_owners(rows, now, mapping.connection)
        new: dict[tuple[uuid.UUID, str], Mapped] = {}
        for _, _, each in mapped:
            if each.values:
                new.setdefault((each.values["user_id"], each.values["platform"]), each)
        inserted = target.insert_connections(self._conn, [each.values for each in new.values() if each.values])
        entries = []
        for row, owner_id, each in mapped:
            if each.values:
                key = (each.values["user_id"], each.values["platform"])
                if new[key] is not each or key not in inserted:
                    each = Mapped(None, ["connection_exists"])
            entries.append(_entry(row, each, owner_id))
        return entries

    def _jobs(self, rows: Sequence[Row], now: datetime) -> list[Entry]:
        mapped = self._of_owners(rows, now, mapping.job)
        inserted = target.insert_jobs(self._conn, [each.values for _, _, each in mapped if each.values])
        entries = []
        for row, _, each in mapped:
            job_id = each.values["job_id"] if each.values else None
            if each.values and job_id not in inserted:
                each.notes.append("job_exists")
            entries.append(_entry(row, each, job_id))
        return entries

    def _of_owners(
        self, rows: Sequence[Row], now: datetime, mapper: _OwnedMapper
    ) -> list[tuple[Row, uuid.UUID | None, Mapped]]:
        """Map rows of users who have been imported; the others are left out."""
        owners = ledger.read(self._conn, USERS.table, {str(row["user_id"]) for row in rows})
        existing = target.existing_users(self._conn, [owner.target_id for owner in owners.values() if owner.target_id])
        mapped: list[tuple[Row, uuid.UUID | None, Mapped]] = []
        for row in rows:
            owner = owners.get(str(row["user_id"]))
            if owner is None:
                mapped.append((row, None, Mapped(None, ["owner_unknown"])))
            elif owner.target_id is None:
                mapped.append((row, None, Mapped(None, ["owner_left_out"])))
            elif owner.target_id not in existing:
                mapped.append((row, None, Mapped(None, ["owner_deleted"])))
            else:
                mapped.append((row, owner.target_id, mapper(row, owner.target_id, now)))
        return mapped


def _entry(row: Row, mapped: Mapped, target_id: uuid.UUID | None) -> Entry:
    is_kept = mapped.values is not None
    return Entry(legacy_id=str(row["id"]), target_id=target_id if is_kept else None, notes=tuple(mapped.notes))
