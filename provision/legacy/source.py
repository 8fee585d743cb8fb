"""The old database: which tables and columns it has, and its rows in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from chassis import database_url

TEXT_LIMIT = 2_000
"""Longer texts are cut while they are read: memory stays bounded."""
MAX_CAUSE = 300
"""Characters of an error that are shown."""

Row = Mapping[str, Any]


class UnfitSource(Exception):
    """The old database cannot be read, or lacks what the import needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A table of the old system, and the possible names of its columns."""

    table: str
    columns: Mapping[str, tuple[str, ...]]
    """Our name of a column -> its names in old databases; the first that exists is read."""
    required: frozenset[str]
    times: frozenset[str] = frozenset()


USERS = Shape(
    table="users",
    columns={
        "id": ("id", "user_id"),
        "email": ("email", "email_address"),
        "password": ("password_hash", "hashed_password", "password"),
        "name": ("name", "full_name", "display_name", "username"),
        "demo_mode": ("demo_mode",),
        "demo_mode_status": ("demo_mode_status",),
        "is_active": ("is_active",),
        "is_admin": ("is_admin", "is_superuser"),
        "is_verified": ("is_verified", "email_verified"),
        "created_at": ("created_at",),
    },
    required=frozenset({"id", "email"}),
    times=frozenset({"created_at"}),
)
CONNECTIONS = Shape(
    table="platform_connections",
    columns={
        "id": ("id", "connection_id"),
        "user_id": ("user_id",),
        "platform": ("platform", "provider"),
        "status": ("connection_status", "status"),
    },
    required=frozenset({"id", "user_id", "platform", "status"}),
)
JOBS = Shape(
    table="background_jobs",
    columns={
        "id": ("id", "job_id"),
        "user_id": ("user_id",),
        "type": ("job_type", "type", "kind", "task_name"),
        "status": ("status",),
        "error": ("error_message", "error"),
        "created_at": ("created_at",),
        "started_at": ("started_at",),
        "finished_at": ("completed_at", "finished_at"),
    },
    required=frozenset({"id", "user_id", "status", "created_at"}),
    times=frozenset({"created_at", "started_at", "finished_at"}),
)
SESSIONS = "user_sessions"
SHAPES = (USERS, CONNECTIONS, JOBS)


class Source:
    """Reads the old database. Each batch is a statement of its own: nothing stays open or locked between two batches."""

    def __init__(self, url: str) -> None:
        arguments: dict[str, Any] = {}
        if url.startswith("postgres"):
            url = database_url.for_sqlalchemy(url)
            arguments["options"] = "-c default_transaction_read_only=on -c statement_timeout=60s"
        self._metadata = sa.MetaData()
        try:
            self._engine = sa.create_engine(
                url, connect_args=arguments, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
            )
            self._metadata.reflect(self._engine)
        except (sa.exc.ArgumentError, ModuleNotFoundError):
            raise UnfitSource("the old database needs a URL such as postgresql://reader@old-db/app") from None
        except sa.exc.DBAPIError as error:
            raise UnfitSource(
                f"the old database cannot be read: {' '.join(str(error.orig).split())[:MAX_CAUSE]}"
            ) from error
        if USERS.table not in self.tables:
            raise UnfitSource(f"the old database has no table {USERS.table}; it has {', '.join(self.tables) or 'none'}")
        for shape in SHAPES:
            if shape.table in self.tables and (missing := shape.required - self._read(shape).keys()):
                raise UnfitSource(f"table {shape.table} has no column for {', '.join(sorted(missing))}")

    @property
    def tables(self) -> list[str]:
        return sorted(self._metadata.tables)

    def has(self, shape: Shape, column: str) -> bool:
        """Return whether a table has a column for one of our names."""
        return column in self._read(shape)

    def unread_columns(self, shape: Shape) -> list[str]:
        """Return the columns of a table that the import does not read."""
        read = {column.name for column in self._read(shape).values()}
        return sorted(set(self._metadata.tables[shape.table].columns.keys()) - read)

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        with self._engine.connect() as conn:
            return conn.execute(sa.select(sa.func.count()).select_from(self._metadata.tables[table])).scalar_one()

    def batches(self, shape: Shape, *, size: int) -> Iterator[Sequence[Row]]:
        """Yield the rows of a table in the order of their ids."""
        columns = self._read(shape)
        key = columns["id"]
        selected = [self._readable(shape, name, column).label(name) for name, column in columns.items()]
        statement = sa.select(*selected).order_by(key).limit(size)
        last: Any = None
        while True:
            with self._engine.connect() as conn:
                result = conn.execute(statement if last is None else statement.where(key > last))
                batch = [row._asdict() for row in result]
            if batch:
                yield batch
            if len(batch) < size:
                return
            last = batch[-1]["id"]

    def _read(self, shape: Shape) -> dict[str, sa.Column[Any]]:
        table = self._metadata.tables[shape.table]
        actual_names = {
            new_name: next((name for name in names if name in table.c), None)
            for new_name, names in shape.columns.items()
        }
        return {new_name: table.c[name] for new_name, name in actual_names.items() if name}

    @staticmethod
    def _readable(shape: Shape, name: str, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        # Drivers refuse times such as `infinity`: times are read as text.
        if name in shape.times:
            return sa.cast(column, sa.Text)
        if isinstance(column.type, sa.String) and name != "id" and name != "user_id":
            return sa.func.substr(sa.cast(column, sa.Text), 1, TEXT_LIMIT)
        return column
