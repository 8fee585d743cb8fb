"""The operations of the demo service. Each is one transaction: the transition, its event, the submit of its job."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, outbox, postgres
from lifecycle.rows import Precondition
from lifecycle.settler import Settler
from repruv.jobs.v1 import job_pb2
from services.demo import declaration, domain, idempotency, options, schema, storage
from services.demo.declaration import DEMO_MODE
from services.demo.domain import Action, Mode, State

TRIES = 3
_Transition = Callable[[outbox.Transaction, UUID, Precondition | None], Awaitable[Mode | None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to an enable or disable."""

    mode: Mode
    job_id: UUID
    is_replayed: bool


class Operations:
    """The operations on demo modes, over one database."""

    def __init__(self, engine: AsyncEngine, settler: Settler[Mode, Action], relay: outbox.Relay) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._settler = settler
        self._relay = relay

    async def enable(
        self,
        owner_id: UUID,
        *,
        profile_type: str,
        niche: str,
        content_count: int | None,
        interaction_count: int | None,
        expire_after: timedelta | None = None,
        key: str,
    ) -> Accepted:
        """Accept to build demo data. With `expire_after` demo mode is disabled automatically that long after enabling.

        Raises `InvalidArgument`, `FailedPrecondition`, or `AlreadyExists` for the key.
        """
        chosen = options.resolve(profile_type, niche, content_count, interaction_count, expire_after)
        request = (
            "enable",
            profile_type or options.AUTO,
            niche or options.AUTO,
            chosen.content_count,
            chosen.interaction_count,
            # Left out if it is not set: so keys that were bound before this option existed still match their request.
            *((str(expire_after),) if expire_after else ()),
        )

        async def begin(tx: outbox.Transaction, job_id: UUID, precondition: Precondition | None) -> Mode | None:
            columns = {"job_id": job_id, **dataclasses.asdict(chosen)}
            return await DEMO_MODE.open(tx, (owner_id,), Action.ENABLE, columns, precondition=precondition)

        return await self._accept(owner_id, Action.ENABLE, begin, key=key, request=request)

    async def disable(self, owner_id: UUID, *, key: str) -> Accepted:
        """Accept to remove the demo data. Raises `FailedPrecondition`, or `AlreadyExists` for the key."""

        async def begin(tx: outbox.Transaction, job_id: UUID, precondition: Precondition | None) -> Mode | None:
            columns = {"job_id": job_id}
            return await DEMO_MODE.move(tx, (owner_id,), Action.DISABLE, columns=columns, precondition=precondition)

        return await self._accept(owner_id, Action.DISABLE, begin, key=key, request=("disable",))

    async def expire(self, owner_id: UUID) -> bool:
        """Disable a demo mode that has expired; return whether it had. False if its owner was faster."""
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            if disabling := await storage.expire(tx.conn, owner_id, ids.uuid7()):
                await declaration.publish(tx, disabling, Action.DISABLE)
        return disabling is not None

    async def dismiss(self, owner_id: UUID) -> Mode:
        """Dismiss a failure; nothing if demo mode is disabled. Raises `demo_not_failed`.

        The new generation makes a late retry of the failed job superseded.
        """
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            mode = await DEMO_MODE.move(tx, (owner_id,), Action.DISMISS)
            if mode is None:
                mode = await storage.get_mode(tx.conn, owner_id)
                if mode.state is not State.DISABLED:
                    raise domain.refusal(Action.DISMISS, mode.state)
        return mode

    async def get(self, owner_id: UUID) -> tuple[Mode, job_pb2.Job | None]:
        """Read a demo mode with the job that moves it or failed in it. A state that the job has left is repaired first."""
        async with self._single.connect() as conn:
            mode = await storage.get_mode(conn, owner_id)
        return await self._settler.repair(mode)

    async def _accept(
        self, owner_id: UUID, action: Action, begin: _Transition, *, key: str, request: tuple[object, ...]
    ) -> Accepted:
        idempotency.check_key(key)
        for _ in range(TRIES):
            # A transition of another call may be committed between the refused one and the read of its reason.
            with contextlib.suppress(domain.StateChanged):
                return await self._try_accept(owner_id, action, begin, key=key, request=request)
        raise errors.Unavailable("Demo mode is changing. Try again.", code="contended")

    async def _try_accept(
        self, owner_id: UUID, action: Action, begin: _Transition, *, key: str, request: tuple[object, ...]
    ) -> Accepted:
        job_id = ids.uuid7()
        async with outbox.transaction(self._engine, schema.outbox, self._relay) as tx:
            precondition = idempotency.precondition(owner_id, key, request, job_id) if key else None
            accepted = await begin(tx, job_id, precondition)
            if accepted is None:
                bound_job = await idempotency.bind_key(tx.conn, owner_id, key, request, job_id) if key else job_id
                mode = await storage.get_mode(tx.conn, owner_id)
                if bound_job != job_id:
                    return Accepted(mode=mode, job_id=bound_job, is_replayed=True)
                raise domain.refusal(action, mode.state)
        return Accepted(mode=accepted, job_id=job_id, is_replayed=False)
