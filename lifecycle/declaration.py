"""The declaration of a lifecycle: its rows, and what a service adds to a transition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

import sqlalchemy as sa

from chassis import errors, outbox
from chassis.prepared import Prepared
from lifecycle.machine import ActionT, Error, Fence, Key, Machine
from lifecycle.rows import Precondition, ResourceT, Rows
from repruv.jobs.v1 import jobs_service_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle(Generic[ResourceT, ActionT]):
    """A resource whose state a job moves: demo mode, a platform connection, an export."""

    rows: Rows[ResourceT, ActionT]
    outbox_table: sa.Table
    """The outbox of the service's schema."""
    effects: Callable[[outbox.Transaction, ResourceT, ActionT], Awaitable[None]]
    """Called in the transaction of each transition with the new snapshot: publishes its event, deletes what must go."""
    submit: Callable[[ResourceT], jobs_service_pb2.SubmitJobRequest]
    """Returns the submit of the resource's current job: the same for the same generation, so it may be repeated."""

    @property
    def machine(self) -> Machine[ActionT]:
        """The states and transitions."""
        return self.rows.machine

    async def move(
        self,
        tx: outbox.Transaction,
        key: Key,
        action: ActionT,
        *,
        of_generation: int | None = None,
        error: Error | None = None,
        columns: Mapping[str, Any] | None = None,
        precondition: Precondition | None = None,
    ) -> ResourceT | None:
        """Change the state by `action` with all effects; None if the state, the generation or the precondition forbids it."""
        moved = await self.rows.move(
            tx.conn,
            key,
            action,
            of_generation=of_generation,
            error=error,
            columns=columns,
            precondition=precondition,
        )
        if moved:
            await self.effects(tx, moved, action)
        return moved

    async def move_locked(
        self,
        tx: outbox.Transaction,
        resource: ResourceT,
        action: ActionT,
        *,
        error: Error | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> ResourceT:
        """Change the state of a resource that was locked and checked in this transaction, with all effects."""
        generation = resource.generation
        moved = await self.move(tx, resource.key, action, of_generation=generation, error=error, columns=columns)
        if moved is None:
            raise errors.Internal("A locked row changed its state.")
        return moved

    async def open(
        self,
        tx: outbox.Transaction,
        key: Key,
        action: ActionT,
        columns: Mapping[str, Any] | None = None,
        *,
        precondition: Precondition | None = None,
    ) -> ResourceT | None:
        """Begin a generation by `action`, with or without a row, with all effects.

        None if the state forbids it or the precondition is not met.
        """
        opened = await self.rows.open(tx.conn, key, action, columns, precondition=precondition)
        if opened:
            await self.effects(tx, opened, action)
        return opened

    async def begin_with_transition(
        self, tx: outbox.Transaction, fence: Fence, action: ActionT, statement: Prepared, parameters: Mapping[str, Any]
    ) -> ResourceT | None:
        """Begin an attempt by `action` with all effects; None if the attempt may not write, or the state forbids it."""
        moved = await self.rows.begin_with_transition(tx.conn, fence, statement, parameters)
        if moved:
            await self.effects(tx, moved, action)
        return moved
