"""Changes of many jobs, as a job: the kind `jobs.bulk` retries, cancels, holds or releases every job that a filter selects.

It has progress, can be cancelled, and resumes after a crash at its checkpoint. Jobs submitted after it are left out. A job that
refuses the change is skipped and counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError

import worker
from chassis import errors, ids, tracing
from services.jobs import domain, isolation
from services.jobs.domain import Action, State
from services.jobs.operations import Operations
from services.jobs.operators.holds import Holds
from services.jobs.operators.job_filters import JobFilter
from services.jobs.operators.job_search import Count, JobSearch

logger = logging.getLogger(__name__)

KIND = domain.BULK
BATCH = 50
"""Jobs between two checkpoints."""
PER_SECOND = 20
MAX_PER_SECOND = 1_000
TRIES = 5
"""Tries to change a job whose row, or whose owner's row, is locked: together longer than a frozen replica may hold locks."""
CONTENDED = "contended"
"""The code of a job that stayed locked: the others do not wait for it."""
REFUSED = "refused"
"""The code of a job whose change the database refuses."""


class Change(StrEnum):
    """What an operator does with many jobs."""

    RETRY = "retry"
    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"


_SOURCES: Mapping[Change, frozenset[State]] = {
    Change.RETRY: domain.TRANSITIONS[Action.RETRY][0],
    Change.CANCEL: domain.TRANSITIONS[Action.CANCEL][0] - {State.CANCELLING},
    Change.HOLD: domain.TRANSITIONS[Action.HOLD][0],
    Change.RELEASE: domain.TRANSITIONS[Action.RELEASE][0],
}
_DEFAULT_SOURCES = {**_SOURCES, Change.RETRY: frozenset({State.FAILED})}
"""Without states in the filter: a cancelled job was stopped on purpose."""
_MESSAGES = {
    Change.RETRY: "Retrying jobs",
    Change.CANCEL: "Cancelling jobs",
    Change.HOLD: "Putting jobs on hold",
    Change.RELEASE: "Releasing jobs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The change, the fields of the `JobFilter` that are set, and the jobs per second."""

    change: Change
    filter: dict[str, Any] = field(default_factory=dict)
    per_second: int = PER_SECOND


class Bulk:
    """Submits and handles `jobs.bulk`."""

    def __init__(self, jobs: Operations, holds: Holds, search: JobSearch) -> None:
        self._jobs = jobs
        self._holds = holds
        self._search = search

    async def start(
        self, selected: JobFilter, change: Change, *, per_second: int, job_id: UUID, owner_id: UUID
    ) -> domain.Job:
        """Submit the job; idempotent by job id. Raises `InvalidArgument` for a rate or for states that forbid the change."""
        if not 1 <= per_second <= MAX_PER_SECOND:
            raise errors.InvalidArgument(f"per_second must be between 1 and {MAX_PER_SECOND:,}.", field="per_second")
        payload = {"change": change, "filter": _to_json(restrict(selected, change)), "per_second": per_second}
        kind = (await self._jobs.kinds.get([KIND]))[KIND]
        position = tracing.position() or None
        spec = domain.Spec(kind=KIND, owner_id=owner_id, payload=payload, traceparent=position, **kind.defaults)
        return (await self._jobs.submit(job_id, spec))[0]

    async def count(self, selected: JobFilter, change: Change) -> Count:
        """Count the jobs that the change would apply to now."""
        return await self._search.count(restrict(selected, change))

    async def run(self, context: worker.Context, payload: Payload) -> dict[str, Any]:
        """Change the selected jobs, the oldest first; return how many were changed, and how many skipped by error code."""
        actor_id = None if context.owner_id == str(domain.SYSTEM) else UUID(context.owner_id)
        stored = _from_json(payload.filter, until=ids.timestamp_of(UUID(context.job_id)))
        selected = restrict(stored, payload.change)
        state = await context.state()
        if state is None:
            state = _position(None, (await self._search.count(selected)).count, 0, Counter())
            await context.checkpoint(state)
        after = UUID(state["after"]) if state["after"] else None
        changed, total = int(state["changed"]), int(state["total"])
        skipped = Counter({code: int(count) for code, count in state["skipped"].items()})
        while True:
            job_ids, end = await self._search.ids_after(selected, after, limit=BATCH)
            try:
                for job_id in job_ids:
                    context.raise_if_cancelled()
                    begin = time.monotonic()
                    code = await self._apply(payload.change, job_id, actor_id)
                    after = job_id
                    changed += not code
                    skipped.update([code] if code else [])
                    done = changed + skipped.total()
                    await context.progress(done, max(total, done), _MESSAGES[payload.change])
                    await asyncio.sleep(max(0.0, 1 / payload.per_second - (time.monotonic() - begin)))
            except BaseException:
                # The next attempt would find the jobs that were changed, and count them as skipped.
                await context.checkpoint(_position(after, total, changed, skipped))
                raise
            if end is None:
                return {"changed": changed, "skipped": dict(skipped)}
            after = end
            await context.checkpoint(_position(after, total, changed, skipped))

    async def _apply(self, change: Change, job_id: UUID, actor_id: UUID | None) -> str:
        """Change a job; return the code of the error that leaves it as it is, or an empty string."""
        for _ in range(TRIES):
            try:
                await self._change(change, job_id, actor_id)
            except (errors.FailedPrecondition, errors.AlreadyExists, errors.NotFound) as error:
                return error.code
            except DBAPIError as error:
                if isolation.is_contended(error):
                    continue
                if isolation.is_unavailable(error):
                    raise
                logger.exception("a job cannot be changed", extra={"job_id": job_id})
                return REFUSED
            else:
                return ""
        return CONTENDED

    async def _change(self, change: Change, job_id: UUID, actor_id: UUID | None) -> None:
        match change:
            case Change.RETRY:
                await self._jobs.retry(job_id, owner_id=None)
            case Change.CANCEL:
                await self._jobs.cancel(job_id, owner_id=None, reason="requested")
            case Change.HOLD:
                await self._holds.hold(job_id, actor_id=actor_id)
            case Change.RELEASE:
                await self._holds.release(job_id, actor_id=actor_id)


def _position(after: UUID | None, total: int, changed: int, skipped: Counter[str]) -> dict[str, Any]:
    """Return the state from which a later attempt resumes."""
    return {"after": str(after or ""), "total": total, "changed": changed, "skipped": dict(skipped)}


def restrict(selected: JobFilter, change: Change) -> JobFilter:
    """Return the filter restricted to jobs that allow the change. Raises `InvalidArgument` if none of its jobs does."""
    states = frozenset(selected.states) & _SOURCES[change] if selected.states else _DEFAULT_SOURCES[change]
    if not states:
        raise errors.InvalidArgument(f"states must have one that allows the change {change}.", field="states")
    if selected.on_hold and change is Change.HOLD:
        raise errors.InvalidArgument("on_hold selects only jobs that are on hold already.", field="on_hold")
    return dataclasses.replace(
        selected,
        states=states,
        on_hold=selected.on_hold or change is Change.RELEASE,
        without_on_hold=change is Change.HOLD,
        without_legacy=change is Change.RETRY,
    )


def _to_json(selected: JobFilter) -> dict[str, Any]:
    values = {field.name: getattr(selected, field.name) for field in dataclasses.fields(selected)}
    values |= {name: sorted(getattr(selected, name)) for name in ("states", "kinds", "without_kinds")}
    # Derived from the change: the stored filter has only the fields of the request.
    del values["without_legacy"], values["without_on_hold"]
    texts = {name: str(value) if isinstance(value, UUID) else value for name, value in values.items() if value}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in texts.items()}


def _from_json(values: Mapping[str, Any], *, until: datetime) -> JobFilter:
    """Return the filter; jobs submitted from `until` on are left out, the job itself among them.

    A field of a later release narrows the filter: without it, the change would apply to more jobs than were asked for.
    """
    unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(JobFilter)})
    if unknown:
        message = f"This version doesn't know the filter {', '.join(unknown)}; nothing was changed."
        raise worker.JobFailed("filter_unknown", message, retryable=True)
    parsed = dict(values)
    parsed["states"] = frozenset(State(state) for state in values["states"])
    parsed["owner_id"] = UUID(values["owner_id"]) if "owner_id" in values else None
    for name in ("created_from", "created_until", "finished_from", "finished_until"):
        parsed[name] = datetime.fromisoformat(values[name]) if name in values else None
    parsed["created_until"] = min(parsed["created_until"] or until, until)
    return JobFilter(**parsed)
