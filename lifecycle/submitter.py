"""Submits of the jobs of lifecycles. A rejected submit ends its transition."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import outbox
from lifecycle import updates
from lifecycle.declaration import Lifecycle
from repruv.jobs.v1 import jobs_service_pb2
from worker import JobsClient
from worker import outbox as worker_outbox


class LifecycleSubmitter(worker_outbox.Submitter):
    """Submits the accepted jobs of a service to the jobs service. Rejected jobs of other kinds are only logged."""

    def __init__(self, engine: AsyncEngine, jobs: JobsClient, *lifecycles: Lifecycle[Any, Any]) -> None:
        super().__init__(jobs)
        self._engine = engine
        self._lifecycles = {kind: lifecycle for lifecycle in lifecycles for kind in lifecycle.machine.steps}

    async def on_rejected(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """End the transition of a job that will never be accepted, unless the resource has moved on."""
        if (lifecycle := self._lifecycles.get(request.spec.kind)) is None:
            return
        key, generation = updates.read_payload(lifecycle.rows, request.spec.owner_id, dict(request.spec.payload))
        async with outbox.transaction(self._engine, lifecycle.outbox_table) as tx:
            resource = await lifecycle.rows.get(tx.conn, key, lock=True)
            is_current = (str(resource.job_id), resource.generation) == (request.job_id, generation)
            if is_current and lifecycle.machine.has_pending_job(resource):
                ending = lifecycle.machine.steps[request.spec.kind].rejected
                await lifecycle.move_locked(tx, resource, ending.action, error=ending.error)
