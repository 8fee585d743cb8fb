"""Which jobs an operator selects, and the indexes that find them.

A statement reads the jobs that an index finds for the filter, at most `limit` of each part, newest first, and checks the rest of
the filter on those. Its cost does not grow with the table, whatever the filter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis import errors
from services.jobs import domain, sql
from services.jobs.domain import State
from services.jobs.operators import overview

MAX_KINDS = 20
MAX_TEXT = 100

_UNFINISHED = frozenset(State) - domain.FINISHED
_UNSUCCESSFUL = domain.FINISHED - {State.COMPLETED}
_LIKE = re.compile(r"([\\%_])")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs; unset fields select all. See JobFilter in the protos."""

    states: Collection[State] = ()
    kinds: Collection[str] = ()
    owner_id: UUID | None = None
    worker: str = ""
    error_code: str = ""
    created_from: datetime | None = None
    created_until: datetime | None = None
    text: str = ""
    without_system: bool = False
    fingerprint: str = ""
    finished_from: datetime | None = None
    finished_until: datetime | None = None
    problem: str = ""
    without_kinds: Collection[str] = ()
    on_hold: bool = False
    without_on_hold: bool = False
    without_legacy: bool = False
    """Whether jobs that were imported from the previous system are left out."""

    def __post_init__(self) -> None:
        """Validate the bounds. Raises `InvalidArgument`."""
        for name in ("kinds", "without_kinds"):
            kinds = getattr(self, name)
            for kind in kinds:
                domain.require_kind(kind, name)
            if len(kinds) > MAX_KINDS:
                raise errors.InvalidArgument(f"{name} must be at most {MAX_KINDS}.", field=name)
        if self.problem and self.problem not in overview.REASONS:
            reasons = ", ".join(overview.REASONS)
            raise errors.InvalidArgument(f"problem must be one of {reasons}.", field="problem")
        for name in ("worker", "error_code", "text", "fingerprint"):
            value = getattr(self, name)
            if len(value) > MAX_TEXT or "\x00" in value:
                message = f"{name} must be at most {MAX_TEXT} characters, without NUL."
                raise errors.InvalidArgument(message, field=name)

    @property
    def identity(self) -> str:
        """The filter as text, for page tokens; without the times, which move along with the clock of a page."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.type != "datetime | None"}
        sets = {name: sorted(getattr(self, name)) for name in ("states", "kinds", "without_kinds")}
        return repr({**values, **sets})

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the fragments below."""
        return {
            **(overview.PROBLEM_PARAMETERS if self.problem else {}),
            "problem": self.problem,
            "owner_id": self.owner_id,
            "kinds": sorted(self.kinds),
            "without_kinds": sorted(self.without_kinds),
            "finished_from": self.finished_from,
            "finished_until": self.finished_until,
            "worker": self.worker,
            "error_code": self.error_code,
            "fingerprint": self.fingerprint,
            "text": "%" + _LIKE.sub(r"\\\1", self.text) + "%",
            "first_id": _first_id(self.created_from),
            "until_id": _first_id(self.created_until),
        } | {f"kind_{position}": kind for position, kind in enumerate(sorted(self.kinds))}

    def sources(self) -> list[str]:
        """Return the conditions of the parts that together contain every selected job once, each for one index."""
        if self.owner_id:
            is_unfinished = " AND j.finished_at IS NULL" if self.states and _UNFINISHED.issuperset(self.states) else ""
            return [f"j.owner_id = CAST(:owner_id AS uuid){is_unfinished}"]
        states = set(self.states) or self._implied_states()
        if not states and not self.kinds:
            return ["true"]
        unfinished = ["j.finished_at IS NULL"] if not states or states & _UNFINISHED else []
        unsuccessful = [f"j.state = '{state}'" for state in sorted(states & _UNSUCCESSFUL)]
        is_rest = not states or State.COMPLETED in states
        if not is_rest:
            return unfinished + unsuccessful
        if not self.kinds:
            # Most jobs are completed: the newest jobs contain them.
            return [*unfinished, *unsuccessful, f"j.state = '{State.COMPLETED}'"]
        of_kinds = [
            f"j.kind = CAST(:kind_{position} AS text) AND j.finished_at IS NOT NULL"
            for position in range(len(self.kinds))
        ]
        if not states:
            return unfinished + of_kinds
        return [*unfinished, *unsuccessful, *(f"{part} AND j.state = '{State.COMPLETED}'" for part in of_kinds)]

    def _implied_states(self) -> set[State]:
        """Return the states that the other fields leave; empty: all."""
        if self.on_hold:
            return {State.SCHEDULED}
        if self.problem:
            return {State.FAILED} if self.problem == overview.FAILING_REASON else set(_UNFINISHED)
        if self.error_code or self.fingerprint:
            return {State.FAILED, *_UNFINISHED}
        return set(domain.FINISHED) if self.finished_from or self.finished_until else set()

    def range(self) -> str:
        """Return the condition on the ids, which carry the times of the submits."""
        conditions = ["true"]
        if self.created_from:
            conditions.append("j.job_id >= CAST(:first_id AS uuid)")
        if self.created_until:
            conditions.append("j.job_id < CAST(:until_id AS uuid)")
        return " AND ".join(conditions)

    def matches(self) -> str:
        """Return the condition that decides for a job of a source."""
        return " AND ".join(self._conditions())

    def _conditions(self) -> Iterator[str]:
        yield "true"
        if self.states:
            yield f"j.state IN {sql.states(self.states)}"
        if self.kinds:
            yield "j.kind = ANY(:kinds)"
        if self.without_kinds:
            yield "j.kind <> ALL(:without_kinds)"
        if self.without_legacy:
            yield f"NOT starts_with(j.kind, '{domain.LEGACY}')"
        if self.on_hold:
            yield f"j.state = '{State.SCHEDULED}' AND {sql.IS_ON_HOLD}"
        if self.without_on_hold:
            yield f"NOT ({sql.IS_ON_HOLD})"
        if self.finished_from:
            yield "(j.finished_at >= CAST(:finished_from AS timestamptz)) IS TRUE"
        if self.finished_until:
            yield "(j.finished_at < CAST(:finished_until AS timestamptz)) IS TRUE"
        if self.problem:
            yield f"j.job_id IN ({overview.PROBLEM_JOBS})"
        if self.without_system:
            yield f"j.owner_id <> '{domain.SYSTEM}'"
        if self.error_code:
            yield "coalesce(j.error_code, '') = :error_code"
        if self.worker:
            yield """coalesce(j.worker, (SELECT a.worker FROM jobs.attempts a
                WHERE a.job_id = j.job_id AND a.attempt = j.attempt), '') = :worker"""
        if self.fingerprint:
            # An attempt that raised nothing has no fingerprint: `none` selects it.
            yield """coalesce((SELECT a.fingerprint FROM jobs.attempts a
                WHERE a.job_id = j.job_id AND a.attempt = j.attempt), 'none') = :fingerprint"""
        if self.text:
            yield """(j.error_message ILIKE :text OR j.progress_message ILIKE :text OR j.unique_key ILIKE :text
                OR j.concurrency_key ILIKE :text) IS TRUE"""


def _first_id(moment: datetime | None) -> UUID | None:
    """Return the smallest id of a time."""
    return UUID(int=max(0, int(moment.timestamp() * 1_000)) << 80) if moment else None
