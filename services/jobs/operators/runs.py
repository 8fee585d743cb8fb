"""Jobs and schedules that operators make."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis import errors, tracing
from services.jobs import domain, kinds, operations
from services.jobs.convert import require_unmasked

logger = logging.getLogger(__name__)

_ENGINE = "jobs."


class Runs:
    """Submits jobs for operators."""

    def __init__(self, jobs: operations.Operations) -> None:
        self._jobs = jobs

    async def require_kind(self, name: str) -> kinds.Kind:
        """Return a kind that operators may run. Raises `InvalidArgument`, `kind_not_found`."""
        domain.require_kind(name, "kind")
        if name.startswith(_ENGINE) or name.endswith(domain.UNDO):
            raise errors.InvalidArgument("The engine submits jobs of this kind; operators cannot.", field="kind")
        kind = await self._jobs.kinds.find(name)
        if kind is None or not kind.is_registered:
            raise errors.NotFound("No worker has registered this kind.", code="kind_not_found", field="kind")
        return kind

    async def run(
        self, job_id: UUID, name: str, payload: dict[str, Any], *, owner_id: UUID, run_at: datetime | None, actor: str
    ) -> domain.Job:
        """Submit a job; idempotent by job id. Raises `InvalidArgument`, `kind_not_found`, `AlreadyExists`."""
        kind = await self.require_kind(name)
        require_unmasked(payload, kind.sensitive)
        explicit = frozenset({"run_at"} if run_at else ())
        values = {**kind.defaults, "run_at": run_at, "explicit": explicit, "traceparent": tracing.position() or None}
        spec = domain.Spec(kind=name, owner_id=owner_id, payload=payload, **values).validate()
        job, is_new = await self._jobs.submit(job_id, spec)
        if is_new:
            logger.info("job submitted by an operator", extra={"job_id": str(job_id), "kind": name, "actor": actor})
        return job
