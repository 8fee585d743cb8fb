"""Fragments of SQL: the states of `domain.TRANSITIONS`, the columns of jobs, the numbering of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from chassis.prepared import Prepared
from services.jobs import domain, outcomes, schema
from services.jobs.domain import Action, State


def prepared(sql: str) -> Prepared:
    """Return a statement that is compiled once."""
    return Prepared(sa.text(sql))


def states(states: Iterable[State]) -> str:
    """Return the states as an SQL list in parentheses."""
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


def sources_of(action: Action) -> str:
    """Return the states that an action starts from, as an SQL list."""
    return states(domain.TRANSITIONS[action][0])


def target_of(action: Action) -> str:
    """Return the state that an action leads to, as an SQL literal."""
    return f"'{domain.TRANSITIONS[action][1]}'"


def columns(alias: str) -> str:
    """Return the columns of a job, and the time until its deadline by the database's clock."""
    columns = ", ".join(f"{alias}.{column.name}" for column in schema.jobs.c)
    return f"{columns}, {alias}.deadline - clock_timestamp() AS time_left"


def light_columns(alias: str) -> str:
    """Return the columns without a large payload."""
    is_small = f"{alias}.payload_bytes <= {domain.SMALL_PAYLOAD_BYTES}"
    payload = f"CASE WHEN {is_small} THEN {alias}.payload END AS payload"
    return columns(alias).replace(f"{alias}.payload,", f"{payload},")


_RENAMED = {"run_at": "scheduled_at", "max_attempts": "budget", "notify_owner": "notifies", "has_undo": "undoes"}
SPEC: Mapping[str, sa.Column[Any]] = {
    field.name: schema.jobs.c[_RENAMED.get(field.name, field.name)]
    for field in dataclasses.fields(domain.Spec)
    if field.compare
}
"""The columns of the fields of a spec. They are inserted as they are; intervals pass through JSON as seconds."""
_INTERVALS = {name for name, column in SPEC.items() if isinstance(column.type, sa.Interval)}
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
SPEC_TYPES = ", ".join(
    f"{name} {'double precision' if name in _INTERVALS else column.type.compile(_DIALECT)}"
    for name, column in SPEC.items()
)
SPEC_COLUMNS = ", ".join(column.name for column in SPEC.values())
SPEC_VALUES = ", ".join(f"make_interval(secs => g.{name})" if name in _INTERVALS else f"g.{name}" for name in SPEC)

MOVES = ", ".join(
    f"('{action}', '{source}')" for action, (sources, _) in domain.TRANSITIONS.items() for source in sorted(sources)
)
FINISHED = states(domain.FINISHED)
HELD = states(domain.HELD)
DELAYED = states(domain.DELAYED)
UNCLAIMED = states(domain.UNCLAIMED)
PENDING = f"'{State.PENDING}'"
IS_ON_HOLD = f"j.run_at = '{domain.ON_HOLD.isoformat()}'"
"""Whether a scheduled job is on hold."""
OCCUPIES_SLOT = states(domain.OCCUPIES_SLOT)


def is_suspect(alias: str) -> str:
    """Return the condition that a job is a suspect: it has crashed so often that it may be the cause."""
    return f"{alias}.crashes >= {outcomes.SUSPECT_CRASHES}"


RUNNING_SUSPECTS = f"""
SELECT h.job_id, h.worker, a.started_at < now() - least(interval '{outcomes.MAX_PROBATION.total_seconds():g} seconds', (
    SELECT min(c.finished_at - c.started_at) + interval '{outcomes.RESCUE_JITTER.total_seconds():g} seconds'
    FROM jobs.attempts c WHERE c.job_id = h.job_id AND c.outcome = '{outcomes.outcome_name(outcomes.Crashed())}')
) AS has_outlived
FROM jobs.jobs h JOIN jobs.attempts a ON a.job_id = h.job_id AND a.attempt = h.attempt
WHERE h.state IN {HELD} AND {is_suspect("h")}"""
"""Suspects that workers hold, and whether they have run for longer than when they crashed."""


def selected(alias: str) -> str:
    """Return the condition that a job belongs to a `Selection`."""
    return f"""{alias}.owner_id = coalesce(CAST(:owner_id AS uuid), {alias}.owner_id)
    AND {alias}.job_id = coalesce(CAST(:job_id AS uuid), {alias}.job_id)"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The jobs that a statement moves: those of one owner, or one job; by default all."""

    owner_id: UUID | None = None
    job_id: UUID | None = None

    @property
    def parameters(self) -> dict[str, UUID | None]:
        """The parameters of `selected`."""
        return {"owner_id": self.owner_id, "job_id": self.job_id}


ALL_JOBS = Selection()


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The statements that find up to `limit` owners of the jobs of a task, and up to `limit` jobs of a selection."""

    owners: Prepared
    jobs: Prepared


def source(alias: str, condition: str) -> Source:
    """Return the source of a task that moves the jobs of `condition`, which begins with FROM."""
    return Source(
        owners=prepared(f"SELECT DISTINCT {alias}.owner_id {condition} LIMIT :limit"),
        jobs=prepared(f"SELECT {alias}.job_id {condition} AND {selected(alias)} LIMIT :limit"),
    )


HAS_LOG = f"owner_id <> '{domain.SYSTEM}'"
"""Whether an owner has a log: its row of `owners` numbers the events. The system has none: a shared row would be one lock for
all its jobs. A trigger of `job_events` numbers its events instead."""

WAIT_TIME = """CASE WHEN j.started_at IS NOT NULL OR j.finished_at IS NOT NULL OR j.run_at <= now() THEN
    greatest(coalesce(j.started_at, j.finished_at, now()) - greatest(j.created_at, j.scheduled_at), interval '0') END"""
"""The time before the first attempt; NULL while the job is scheduled for later."""
RUN_TIME = (
    "CASE WHEN j.started_at IS NOT NULL THEN greatest(coalesce(j.finished_at, now()) - j.started_at, interval '0') END"
)
"""The time since the first attempt began, up to the end; NULL before."""

TOKENS = """least(k.rate_count, CASE WHEN k.tokens_at > now() + interval '10 seconds' THEN k.rate_count
    ELSE k.tokens + extract(epoch FROM now() - k.tokens_at) / extract(epoch FROM k.rate_period) * k.rate_count END)"""
"""The number of jobs that may start now under the rate limit of a kind. The full count after the clock was set back: the kind
would stand still until the old time. A transaction that has waited for a lock is a few seconds behind at most."""

LOST_EVENTS = 1_000_000
"""The gap in an owner's sequence after a failover: more than the events of an owner that a former primary may have lost."""
TIMELINE = "(SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))"
ADVANCED = f"""timeline = excluded.timeline, last_sequence = o.last_sequence + excluded.last_sequence
        + CASE WHEN o.timeline <> excluded.timeline THEN {LOST_EVENTS} ELSE 0 END"""
"""Advances the sequence of an owner. On a new timeline of the database (a failover, a restored backup) it skips the sequences
that the lost events may have had: cursors of readers become unknown, instead of naming other events."""


def numbered(moved: str) -> str:
    """Return the end of a statement whose CTE `moved` has the moved jobs: it adds the sequence of each event.

    The sequence is 0 for owners without a log.
    """
    return f"""
, counted AS (SELECT owner_id, count(*) AS count FROM {moved} WHERE {HAS_LOG} GROUP BY owner_id),
advanced AS (
    INSERT INTO jobs.owners AS o (owner_id, last_sequence, timeline)
    SELECT owner_id, count, {TIMELINE} FROM counted ORDER BY owner_id
    ON CONFLICT (owner_id) DO UPDATE SET {ADVANCED}
    RETURNING o.owner_id, o.last_sequence
)
SELECT m.*, coalesce(
    a.last_sequence - c.count + row_number() OVER (PARTITION BY m.owner_id ORDER BY m.job_id), 0) AS sequence
FROM {moved} m LEFT JOIN counted c ON c.owner_id = m.owner_id LEFT JOIN advanced a ON a.owner_id = m.owner_id
"""


def ranked(source: str, *, behind: int = 0) -> str:
    """Return CTEs that give each job of the CTE `source` (job_id, kind, owner_id, position) its fair rank in `ranked`.

    Start-time fair queueing between owners: a job's fair rank follows that of its owner's last ready job and is never below the
    kind's current fair rank. Ten thousand jobs of one owner rank behind the first job of another. Every statement that makes
    jobs ready ranks them. Retried jobs rank `behind` the kind's rank: otherwise an old job that is retried repeatedly
    would always be first. The last rank is read once per kind and owner, and only from the kind's rank on: an old
    snapshot keeps the entries of claimed jobs in the index.
    """
    return f"""first_ranks AS MATERIALIZED (
    SELECT l.kind, l.owner_id, greatest(coalesce(k.fair_rank, 0) + {behind}, (
        SELECT max(w.fair_rank) + 1 FROM jobs.jobs w WHERE w.kind = l.kind AND w.owner_id = l.owner_id AND w.ready
            AND w.fair_rank >= coalesce(k.fair_rank, 0))) AS fair_rank
    FROM (SELECT DISTINCT kind, owner_id FROM {source}) l LEFT JOIN jobs.kinds k ON k.kind = l.kind
), ranked AS MATERIALIZED (
    SELECT s.job_id, f.fair_rank + row_number() OVER (PARTITION BY s.kind, s.owner_id ORDER BY s.position, s.job_id) - 1
        AS fair_rank
    FROM {source} s JOIN first_ranks f ON f.kind = s.kind AND f.owner_id = s.owner_id
)"""
