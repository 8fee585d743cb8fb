"""The rows of a lifecycle's table, whatever its key and its other columns. A state changes by guarded updates only.

The table has the columns of `lifecycle.columns` and its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import dml, visitors

from chassis import errors
from chassis.prepared import Prepared
from lifecycle.machine import ActionT, Error, Fence, Key, Machine, Resource

Row = Mapping[Any, Any]
"""The values of a row by the names of its columns."""
ResourceT = TypeVar("ResourceT", bound=Resource)
"""The snapshot of a resource."""

AGE = sa.bindparam("age", type_=sa.Interval)
"""The parameter of a `take_statement`: the least time between two checks of a resource."""
RETAKE_AFTER = timedelta(minutes=1)
_now = sa.func.now()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Precondition:
    """A row that must be written for a transition to happen, such as an idempotency key: both are one statement."""

    written: sa.CTE
    """Writes and returns the row, or returns none."""
    parameters: Mapping[str, Any]


class Rows(Generic[ResourceT, ActionT]):
    """The rows of one table. Its statements are built and compiled once: that takes longer than executing them."""

    def __init__(
        self,
        machine: Machine[ActionT],
        table: sa.Table,
        *,
        read: Callable[[Row], ResourceT],
        absent: Callable[..., ResourceT],
        changes: Mapping[ActionT, Mapping[str, Any]],
    ) -> None:
        """`read` makes a snapshot of a row (see `reader`), `absent` of the key of a resource without one.

        `changes` are the columns that an action sets besides those of every lifecycle, on every occasion.
        """
        self.machine = machine
        self.table = table
        self.key_names = tuple(column.name for column in table.primary_key.columns)
        self._read = read
        self._absent = absent
        self._changes = changes
        self._moves: dict[tuple[ActionT, frozenset[str], bool, sa.CTE | None], Prepared] = {}
        self._updates: dict[frozenset[str], Prepared] = {}
        self._opens: dict[tuple[ActionT, frozenset[str], sa.CTE | None], Prepared] = {}
        self._names = tuple(table.c.keys())
        columns = table.c
        self.of_key = tuple(columns[name] == sa.bindparam(f"of_{name}") for name in self.key_names)
        get = sa.select(table).where(*self.of_key)
        lock = get.with_for_update()
        lock_for_write = lock.where(
            columns.job_id == sa.bindparam("job"),
            columns.generation == sa.bindparam("generation"),
            columns.attempt == sa.bindparam("attempt"),
            columns.state == sa.bindparam("working"),
        )
        begin_attempt = (
            sa.update(table)
            .where(*self.of_key, columns.attempt <= sa.bindparam("begun"))
            .values(attempt=sa.bindparam("begun"))
        )
        record_job_version = sa.update(table).where(*self.of_key).values(job_version=sa.bindparam("new_version"))
        self._get, self._lock, self._lock_for_write = Prepared(get), Prepared(lock), Prepared(lock_for_write)
        self._begin_attempt, self._record_job_version = Prepared(begin_attempt), Prepared(record_job_version)
        # One condition per state, so that the planner can prove that the predicate of a partial index holds.
        is_working = sa.or_(
            *(sa.and_(columns.state == state, columns.job_id.is_not(None)) for state in machine.working)
        )
        is_stale = columns.changed_at < _now - AGE
        self._take_stale = Prepared(self.take_statement(is_working, is_stale, order=columns.checked_at.nulls_first()))

    async def get(self, conn: AsyncConnection, key: Key, *, lock: bool = False) -> ResourceT:
        """Read a resource; with `lock`, no other transaction can change it."""
        return await self.execute(conn, self._lock if lock else self._get, key) or self._absent(*key)

    async def lock_for_write(self, conn: AsyncConnection, fence: Fence, working: str) -> ResourceT | None:
        """Lock the row for a write of this attempt; None if the attempt may not write (any more)."""
        parameters = {
            "job": fence.job_id,
            "generation": fence.generation,
            "attempt": fence.attempt,
            "working": working,
        }
        return await self.execute(conn, self._lock_for_write, fence.key, parameters)

    async def begin_attempt(self, conn: AsyncConnection, fence: Fence) -> None:
        """Fence off lower attempts: from now on they can write nothing."""
        await self._begin_attempt.execute(conn, {**self.key_parameters(fence.key), "begun": fence.attempt})

    async def begin_with_transition(
        self, conn: AsyncConnection, fence: Fence, statement: Prepared, parameters: Mapping[str, Any]
    ) -> ResourceT | None:
        """Begin an attempt by a transition, by a `begin_with_transition_statement`; None if its conditions are not met."""
        fenced = {"job": fence.job_id, "of_generation": fence.generation, "new_attempt": fence.attempt}
        return await self.execute(conn, statement, fence.key, {**fenced, **parameters})

    async def open(
        self,
        conn: AsyncConnection,
        key: Key,
        action: ActionT,
        columns: Mapping[str, Any] | None = None,
        *,
        precondition: Precondition | None = None,
    ) -> ResourceT | None:
        """Begin a generation by `action`, with or without a row; None if the state forbids it or the precondition is not met."""
        columns = columns or {}
        parameters = {**_new(columns), **_precondition_parameters(precondition)}
        kind = (action, frozenset(columns), precondition.written if precondition else None)
        if (statement := self._opens.get(kind)) is None:
            statement = self._opens[kind] = Prepared(self._open_statement(*kind))
        return await self.execute(conn, statement, key, parameters)

    async def move(
        self,
        conn: AsyncConnection,
        key: Key,
        action: ActionT,
        *,
        of_generation: int | None = None,
        error: Error | None = None,
        columns: Mapping[str, Any] | None = None,
        precondition: Precondition | None = None,
    ) -> ResourceT | None:
        """Change the state by `action`, and columns with it; None if the state, the generation or the precondition forbids it.

        Error columns are set to `error`, or cleared. `attempt` never falls.
        """
        values = {
            **(columns or {}),
            "error_code": error.code if error else None,
            "error_message": error.message if error else None,
        }
        written = precondition.written if precondition else None
        kind = (action, frozenset(values), of_generation is not None, written)
        if (statement := self._moves.get(kind)) is None:
            moved = self.move_statement(action, kind[1], is_guarded=kind[2])
            statement = self._moves[kind] = Prepared(moved if written is None else moved.where(_is_met(written)))
        guard = {} if of_generation is None else {"of_generation": of_generation}
        return await self.execute(
            conn, statement, key, {**_new(values), **guard, **_precondition_parameters(precondition)}
        )

    async def update(self, conn: AsyncConnection, key: Key, columns: Mapping[str, Any]) -> ResourceT:
        """Set columns of a row that is locked, without a transition."""
        statement = self._updates.get(names := frozenset(columns))
        if statement is None:
            new = {**self._bind_parameters(names), "version": self.table.c.version + 1}
            statement = Prepared(sa.update(self.table).where(*self.of_key).values(new).returning(self.table))
            self._updates[names] = statement
        updated = await self.execute(conn, statement, key, _new(columns))
        if updated is None:
            raise errors.Internal("A locked row is gone.")
        return updated

    async def record_job_version(self, conn: AsyncConnection, key: Key, version: int) -> None:
        """Remember a job update that changed nothing, so that no older one changes something."""
        await self._record_job_version.execute(conn, {**self.key_parameters(key), "new_version": version})

    async def take_stale(self, conn: AsyncConnection, *, age: timedelta, limit: int) -> list[ResourceT]:
        """Take resources whose job has been moving them for longer than `age`, the longest unchecked first."""
        return await self.take(conn, self._take_stale, age=age, limit=limit)

    async def take(self, conn: AsyncConnection, statement: Prepared, *, age: timedelta, limit: int) -> list[ResourceT]:
        """Take the first resources by a `take_statement`, each at most once per `age` over all replicas."""
        rows = await statement.execute(conn, {"age": age, "limit": limit})
        return [self._read(dict(zip(self._names, row, strict=True))) for row in rows]

    async def take_unchanged(
        self, conn: AsyncConnection, action: ActionT, *, unchanged_for: timedelta, limit: int
    ) -> list[ResourceT]:
        """Take resources that `action` should move, those unchanged for `unchanged_for`, the longest unchecked first.

        Those that cannot be moved are taken again in a minute, after all others.
        """
        columns, wait = self.table.c, self.machine.wait
        conditions = [self.state_permits(action), columns.changed_at <= _now - unchanged_for]
        if wait is not None and action is wait.action:
            conditions.append(columns.job_id.is_(None))
        statement = self.take_statement(*conditions, order=columns.checked_at.nulls_first())
        rows = await conn.execute(statement, {"age": RETAKE_AFTER, "limit": limit})
        return [self._read(row) for row in rows.mappings()]

    async def execute(
        self, conn: AsyncConnection, statement: Prepared, key: Key, parameters: Mapping[str, Any] | None = None
    ) -> ResourceT | None:
        """Execute a statement that returns the whole row of a key; return its snapshot, or None if there was no such row."""
        rows = await statement.execute(conn, {**self.key_parameters(key), **(parameters or {})})
        return self._read(dict(zip(self._names, rows[0], strict=True))) if rows else None

    def key_parameters(self, key: Key) -> dict[str, Any]:
        """Return the parameters of `of_key`."""
        return {f"of_{name}": value for name, value in zip(self.key_names, key, strict=True)}

    def move_statement(self, action: ActionT, columns: frozenset[str], *, is_guarded: bool) -> dml.ReturningUpdate[Any]:
        """Return the statement that changes the state by `action`, and sets columns to their parameters `new_…`.

        Guarded, it does so only in the generation `of_generation`.
        """
        values = {**self._transition(action), **self._bind_parameters(columns)}
        statement = (
            sa.update(self.table).where(*self.of_key, self.state_permits(action)).values(values).returning(self.table)
        )
        is_of_generation = self.table.c.generation == sa.bindparam("of_generation")
        return statement.where(is_of_generation) if is_guarded else statement

    def begin_with_transition_statement(
        self, action: ActionT, names: frozenset[str] = frozenset()
    ) -> dml.ReturningUpdate[Any]:
        """Return the statement that begins an attempt by `action`, and sets columns to their parameters `new_…`.

        The caller may add conditions with `where`.
        """
        columns = self.table.c
        moved = self.move_statement(action, names | {"attempt"}, is_guarded=True)
        return moved.where(columns.job_id == sa.bindparam("job"), columns.attempt <= sa.bindparam("new_attempt"))

    def take_statement(
        self, *conditions: sa.ColumnElement[bool] | sa.TextClause, order: Any
    ) -> dml.ReturningUpdate[Any]:
        """Return the statement for `take` that chooses resources by conditions, the first ones by `order`."""
        columns = self.table.c
        is_unchecked = sa.or_(columns.checked_at.is_(None), columns.checked_at < _now - AGE)
        chosen = (
            sa.select(*self._key_columns())
            .where(*conditions, is_unchecked)
            .order_by(order)
            .limit(sa.bindparam("limit"))
            .with_for_update(skip_locked=True)
        )
        taken = sa.update(self.table).where(sa.tuple_(*self._key_columns()).in_(chosen)).values(checked_at=_now)
        return taken.returning(self.table)

    def state_permits(self, action: ActionT) -> sa.ColumnElement[bool]:
        """Return the condition that the state permits an action."""
        sources, _ = self.machine.transitions[action]
        return self.table.c.state.in_(sorted(sources))

    def _open_statement(
        self, action: ActionT, names: frozenset[str], written: sa.CTE | None
    ) -> dml.ReturningInsert[Any]:
        new = self._bind_parameters(names)
        first = {
            **{name: sa.bindparam(f"of_{name}") for name in self.key_names},
            "state": self.machine.transitions[action][1],
            "previous_state": self.machine.initial,
            "generation": 1,
            "version": 1,
            "changed_at": _now,
        }
        fixed = {name: value for name, value in self._changes.get(action, {}).items() if not _reads_row(value)}
        values = {**fixed, **new, **first}
        if written is None:
            insert = postgresql.insert(self.table).values(values)
        else:
            row = sa.select(*(self._literal(name, value) for name, value in values.items()))
            insert = postgresql.insert(self.table).from_select(list(values), row.where(_is_met(written)))
        again = {**self._transition(action), "error_code": None, "error_message": None, **new}
        return insert.on_conflict_do_update(
            index_elements=self._key_columns(), set_=again, where=self.state_permits(action)
        ).returning(self.table)

    def _transition(self, action: ActionT) -> dict[str, Any]:
        columns = self.table.c
        new_generation = {"generation": columns.generation + 1, "attempt": 0, "job_version": 0}
        return {
            "state": self.machine.transitions[action][1],
            "previous_state": columns.state,
            "version": columns.version + 1,
            "changed_at": _now,
            "checked_at": None,
            **(new_generation if action in self.machine.new_generation else {}),
            **self._changes.get(action, {}),
        }

    def _bind_parameters(self, names: frozenset[str]) -> dict[str, sa.ColumnElement[Any]]:
        new: dict[str, sa.ColumnElement[Any]] = {
            name: sa.bindparam(f"new_{name}", type_=self.table.c[name].type) for name in sorted(names)
        }
        if "attempt" in new:
            new["attempt"] = sa.func.greatest(self.table.c.attempt, new["attempt"])
        return new

    def _literal(self, name: str, value: object) -> sa.ColumnElement[Any]:
        type_ = self.table.c[name].type
        return sa.cast(value if isinstance(value, sa.ColumnElement) else sa.literal(value, type_), type_)

    def _key_columns(self) -> Sequence[sa.Column[Any]]:
        return [self.table.c[name] for name in self.key_names]


def reader(snapshot: type[ResourceT], **computed: Callable[[Row], Any]) -> Callable[[Row], ResourceT]:
    """Return the function that makes a snapshot of a row.

    Each field has the value of the column of its name; those in `computed`, and the error, are made of the row.
    """
    computed = {"error": _error, **computed}
    names = [field.name for field in dataclasses.fields(snapshot) if field.name not in computed]
    return lambda row: snapshot(
        **{name: row[name] for name in names}, **{name: compute(row) for name, compute in computed.items()}
    )


async def now(conn: AsyncConnection) -> datetime:
    """Return the time of the database, which decides all deadlines."""
    time: datetime = (await conn.execute(sa.select(_now))).scalar_one()
    return time


def _error(row: Row) -> Error | None:
    return Error(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None


def _new(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in columns.items()}


def _is_met(written: sa.CTE) -> sa.ColumnElement[bool]:
    return sa.exists(sa.select(written))


def _precondition_parameters(precondition: Precondition | None) -> Mapping[str, Any]:
    return precondition.parameters if precondition else {}


def _reads_row(value: object) -> bool:
    """Return whether a value is computed from the row that is there already."""
    return isinstance(value, sa.ColumnElement) and any(isinstance(part, sa.Column) for part in visitors.iterate(value))
