"""Attempts of jobs that move a resource: every write is in a transaction that holds the fence.

A handler's work is `begin`, then any number of `fenced` transactions; the last one moves the state on together with its
last rows. Small work does all of it in one `begin_with_transition` transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import worker
from chassis import outbox
from chassis.prepared import Prepared
from lifecycle import updates
from lifecycle.declaration import Lifecycle
from lifecycle.machine import ActionT, AttemptStart, Error, Fence
from lifecycle.rows import ResourceT


class FencedTransaction(Generic[ResourceT, ActionT]):
    """A transaction in which the row is locked for one attempt. Rows that `conn` writes here are fenced."""

    def __init__(
        self, lifecycle: Lifecycle[ResourceT, ActionT], tx: outbox.Transaction, fence: Fence, resource: ResourceT
    ) -> None:
        self._lifecycle = lifecycle
        self._tx = tx
        self._fence = fence
        self.resource = resource
        """The resource in its state within this transaction."""
        self.is_done = False
        """Whether an earlier attempt has moved the state already: there is nothing to do."""

    @property
    def conn(self) -> AsyncConnection:
        return self._tx.conn

    async def update(self, columns: Mapping[str, Any]) -> ResourceT:
        """Set columns of the resource without a transition."""
        self.resource = await self._lifecycle.rows.update(self.conn, self._fence.key, columns)
        return self.resource

    async def move(
        self, action: ActionT, columns: Mapping[str, Any] | None = None, *, error: Error | None = None
    ) -> ResourceT:
        """Change the state by `action`, and columns with it. Raises `worker.Cancelled` if the state forbids it."""
        resource = await self._lifecycle.move(
            self._tx,
            self._fence.key,
            action,
            of_generation=self._fence.generation,
            error=error,
            columns=columns,
        )
        if resource is None:
            raise worker.Cancelled("superseded")
        self.resource = resource
        return resource

    async def store(self, ctes: str, parameters: Mapping[str, Any]) -> None:
        """Write rows by data-modifying `ctes`, in the statement that stores the messages of the transitions."""
        await self._tx.store(ctes, parameters)


class FencedAttempt(Generic[ResourceT, ActionT]):
    """One attempt of a job that moves a resource."""

    def __init__(
        self,
        lifecycle: Lifecycle[ResourceT, ActionT],
        engine: AsyncEngine,
        relay: outbox.Relay,
        context: worker.Context,
    ) -> None:
        """Read the fence of a context. Raises ValueError if the payload does not name a resource."""
        self._lifecycle = lifecycle
        self._engine = engine
        self._relay = relay
        self.kind = context.kind
        self.fence = updates.fence(lifecycle.rows, context.job_id, context.owner_id, context.attempt, context.payload)
        self._step = lifecycle.machine.steps[context.kind]

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[FencedTransaction[ResourceT, ActionT]]:
        """Begin the attempt: lower ones can write nothing from now on.

        Raises `worker.Cancelled` if it is superseded, `worker.JobFailed` if the resource has failed for good.
        """
        async with outbox.transaction(self._engine, self._lifecycle.outbox_table, self._relay) as tx:
            resource = await self._lifecycle.rows.get(tx.conn, self.fence.key, lock=True)
            start = self._lifecycle.machine.decide_start(resource, self.fence, self.kind)
            if start is AttemptStart.SUPERSEDED:
                raise worker.Cancelled("superseded")
            if start is AttemptStart.FAILED and resource.error:
                raise worker.JobFailed(resource.error.code, resource.error.message, retryable=False)
            fenced = FencedTransaction(self._lifecycle, tx, self.fence, resource)
            fenced.is_done = start is AttemptStart.DONE
            await self._lifecycle.rows.begin_attempt(tx.conn, self.fence)
            if start is AttemptStart.RESUME and self._step.resume:
                await fenced.move(self._step.resume)
            yield fenced

    @asynccontextmanager
    async def begin_with_transition(
        self, action: ActionT, statement: Prepared, parameters: Mapping[str, Any]
    ) -> AsyncIterator[FencedTransaction[ResourceT, ActionT] | None]:
        """Begin the attempt by its last transition, for work that is written in this one transaction.

        `statement` is a `Rows.begin_with_transition_statement` of `action`. None if its conditions are not met: use `begin`.
        """
        async with outbox.transaction(self._engine, self._lifecycle.outbox_table, self._relay) as tx:
            resource = await self._lifecycle.begin_with_transition(tx, self.fence, action, statement, parameters)
            yield FencedTransaction(self._lifecycle, tx, self.fence, resource) if resource else None

    @asynccontextmanager
    async def fenced(self) -> AsyncIterator[FencedTransaction[ResourceT, ActionT]]:
        """Open a further transaction of the attempt. Raises `worker.Cancelled` if it may not write (any more)."""
        async with outbox.transaction(self._engine, self._lifecycle.outbox_table, self._relay) as tx:
            resource = await self._lifecycle.rows.lock_for_write(tx.conn, self.fence, self._step.working)
            if resource is None:
                raise worker.Cancelled("superseded")
            yield FencedTransaction(self._lifecycle, tx, self.fence, resource)
