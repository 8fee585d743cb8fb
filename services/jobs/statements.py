"""The statements that run for every job, in SQL: their speed and correctness depend on details that a builder would hide.

Rows are passed as one JSON text or as arrays: a thousand rows cost one round trip. Returned rows have the columns of
`schema.jobs`, in that order. Only GET_JOBS and CLAIM_JOBS return payloads above 16 KiB.
"""

from __future__ import annotations

import functools

from chassis.prepared import Prepared
from services.jobs import domain, outcomes, sql
from services.jobs.domain import Action, State

_GIVEN = f"""
WITH given AS MATERIALIZED (
    SELECT g.*, NOT coalesce(g.run_at > now(), false) AND g.concurrency_key IS NULL AS ready
    FROM json_to_recordset(CAST(:rows AS json)) AS g (position integer, job_id uuid, {sql.SPEC_TYPES})
    WHERE NOT EXISTS (SELECT 1 FROM jobs.deleted_jobs d WHERE d.job_id = g.job_id)
), given_ready AS MATERIALIZED (SELECT job_id, kind, owner_id, position FROM given WHERE ready), {sql.ranked("given_ready")}"""
_COLUMNS = f"job_id, {sql.SPEC_COLUMNS}, max_attempts, payload_bytes, run_at, deadline, state, ready, fair_rank"
_VALUES = f"""g.job_id, {sql.SPEC_VALUES}, g.max_attempts, octet_length(CAST(g.payload AS text)), greatest(g.run_at, now()),
    greatest(g.run_at, now()) + make_interval(secs => g.total_timeout)"""

_INSERT = f"""{_GIVEN}
INSERT INTO jobs.jobs ({_COLUMNS})
SELECT {_VALUES},
    CASE WHEN g.run_at > now() THEN '{State.SCHEDULED}' ELSE '{State.PENDING}' END, g.ready, coalesce(r.fair_rank, 0)
FROM given g LEFT JOIN ranked r ON r.job_id = g.job_id
-- Two batches that share unique keys or ids must lock them in the same order; of one key the first in its batch is stored.
ORDER BY g.unique_key NULLS FIRST, CASE WHEN g.unique_key IS NULL THEN g.job_id END, g.position
ON CONFLICT DO NOTHING
RETURNING {sql.light_columns("jobs")}
"""

INSERT_JOBS = sql.prepared(_INSERT)
"""Stores jobs. A job that is not returned conflicts with a stored or deleted id, or with the unique key of an unfinished job."""
INSERT_JOBS_NUMBERED = sql.prepared(f"WITH stored AS ({_INSERT}){sql.numbered('stored')}")
"""Stores jobs and numbers their events. No lock of a job, a parent or a key may follow in the transaction."""

START_JOB = sql.prepared(f"""{_GIVEN}, started AS (
    INSERT INTO jobs.jobs ({_COLUMNS}, attempt, worker, lease_until, started_at, version)
    SELECT {_VALUES}, {sql.target_of(Action.CLAIM)}, false, r.fair_rank, 1, :worker, clock_timestamp() + :lease, now(), 2
    FROM given g JOIN ranked r ON r.job_id = g.job_id
    WHERE NOT EXISTS (SELECT 1 FROM jobs.jobs j WHERE j.kind = ANY(CAST(:kinds AS text[])) AND j.ready)
        AND NOT EXISTS (
            SELECT 1 FROM jobs.kinds k WHERE (k.kind = ANY(CAST(:kinds AS text[])) OR k.kind = '*') AND k.is_limited)
    ON CONFLICT DO NOTHING
    RETURNING {sql.columns("jobs")}
), begun AS (
    INSERT INTO jobs.attempts (job_id, attempt, worker, started_at) SELECT job_id, 1, :worker, now() FROM started
), advanced AS (
    INSERT INTO jobs.owners AS o (owner_id, last_sequence, timeline)
    SELECT owner_id, 2, {sql.TIMELINE} FROM started WHERE {sql.HAS_LOG}
    ON CONFLICT (owner_id) DO UPDATE SET {sql.ADVANCED}
    RETURNING o.last_sequence
)
SELECT m.*, coalesce(a.last_sequence - 1, 0) FROM started m LEFT JOIN advanced a ON true""")
"""Stores a job that a worker waits for, already claimed, and returns it with the first of its two sequences, 0 for the system.

It returns no row if another job of these kinds is ready or a kind is limited, as a claim then decides, or if the id is taken.
"""

GET_JOBS = sql.prepared(f"SELECT {sql.columns('j')} FROM jobs.jobs j WHERE j.job_id = ANY(:job_ids)")
LOCK_JOBS = sql.prepared(
    f"SELECT {sql.light_columns('j')} FROM jobs.jobs j WHERE j.job_id = ANY(:job_ids) ORDER BY j.job_id FOR NO KEY UPDATE"
)
HOLDERS = sql.prepared(f"""
SELECT unique_key, job_id FROM jobs.jobs
WHERE unique_key = ANY(:unique_keys) AND state NOT IN {sql.FINISHED}
""")
"""The unfinished jobs with these unique keys."""

ADD_CHILDREN = sql.prepared("""
UPDATE jobs.jobs p SET children_total = p.children_total + g.added, version = p.version + 1
FROM unnest(CAST(:parent_ids AS uuid[]), CAST(:added AS integer[])) AS g (parent_id, added)
WHERE p.job_id = g.parent_id
""")

COUNT_CHILDREN = sql.prepared(f"""
UPDATE jobs.jobs p SET
    children_ended = p.children_ended + g.ended,
    children_unsuccessful = p.children_unsuccessful + g.unsuccessful,
    awaits_children = p.awaits_children AND p.children_ended + g.ended < p.children_total,
    progress_done = CASE WHEN p.awaits_children THEN p.children_ended + g.ended ELSE p.progress_done END,
    progress_total = CASE WHEN p.awaits_children THEN p.children_total ELSE p.progress_total END,
    version = p.version + 1
FROM unnest(CAST(:parent_ids AS uuid[]), CAST(:ended AS integer[]), CAST(:unsuccessful AS integer[]))
    AS g (parent_id, ended, unsuccessful)
WHERE p.job_id = g.parent_id AND p.state NOT IN {sql.FINISHED}
RETURNING {sql.light_columns("p")}
""")
"""Counts finished or reopened children in unfinished parents. Parents that waited for their last child may continue."""

CLAIM_JOBS = sql.prepared(f"""
WITH chosen AS MATERIALIZED (
    SELECT job_id FROM (
        SELECT r.*, sum(r.payload_bytes) OVER earlier - r.payload_bytes AS bytes_before,
            count(*) FILTER (WHERE {sql.is_suspect("r")}) OVER earlier AS suspects
        FROM (
            SELECT c.*, row_number() OVER (
                PARTITION BY requested.kind ORDER BY c.priority DESC, c.fair_rank, c.job_id) AS place
            FROM unnest(CAST(:kinds AS text[]), CAST(:quotas AS integer[])) AS requested (kind, quota)
            CROSS JOIN LATERAL (
                SELECT j.job_id, j.priority, j.fair_rank, j.payload_bytes, j.crashes FROM jobs.jobs j
                WHERE j.kind = requested.kind AND j.ready AND j.job_id <> ALL(CAST(:excluded AS uuid[]))
                    -- Evaluated once, and only if there is a suspect.
                    AND (NOT {sql.is_suspect("j")} OR NOT EXISTS (
                        SELECT 1 FROM ({sql.RUNNING_SUSPECTS}) p WHERE p.worker = :worker AND NOT p.has_outlived))
                ORDER BY j.priority DESC, j.fair_rank, j.job_id LIMIT requested.quota
                FOR NO KEY UPDATE SKIP LOCKED
            ) c
            WHERE :is_locked OR NOT EXISTS (
                SELECT 1 FROM jobs.kinds k WHERE k.kind IN (requested.kind, '*') AND k.is_limited)
        ) r WINDOW earlier AS (ORDER BY r.priority DESC, r.place, r.job_id)
    ) s
    WHERE s.bytes_before < :max_bytes AND (NOT {sql.is_suspect("s")} OR s.suspects = 1)
    -- Fair ranks of different kinds do not compare: kinds alternate.
    ORDER BY s.priority DESC, s.place, s.job_id
    LIMIT :limit
), claimed AS (
    UPDATE jobs.jobs j SET state = {sql.target_of(Action.CLAIM)}, ready = false, attempt = j.attempt + 1, worker = :worker,
        -- Not now(): the transaction may have waited for locks since it began.
        lease_until = clock_timestamp() + :lease, started_at = coalesce(j.started_at, now()), version = j.version + 1
    WHERE j.job_id = ANY(ARRAY(SELECT job_id FROM chosen)) AND j.state IN {sql.sources_of(Action.CLAIM)} AND j.ready
    RETURNING {sql.columns("j")}
), begun AS (
    INSERT INTO jobs.attempts (job_id, attempt, worker, started_at) SELECT job_id, attempt, :worker, now() FROM claimed
), counted AS (
    SELECT owner_id, sum(count)::bigint AS count FROM (
        SELECT owner_id, 1 AS count FROM claimed
        UNION ALL SELECT * FROM unnest(CAST(:owner_ids AS uuid[]), CAST(:counts AS bigint[]))
    ) events (owner_id, count) GROUP BY owner_id
), advanced AS (
    INSERT INTO jobs.owners AS o (owner_id, last_sequence, timeline)
    SELECT owner_id, count, {sql.TIMELINE} FROM counted WHERE {sql.HAS_LOG} ORDER BY owner_id
    ON CONFLICT (owner_id) DO UPDATE SET {sql.ADVANCED}
    RETURNING o.owner_id, o.last_sequence
)
SELECT {sql.columns("m")}, c.owner_id, coalesce(a.last_sequence - c.count + 1, 0)
FROM counted c LEFT JOIN advanced a ON a.owner_id = c.owner_id LEFT JOIN claimed m ON m.owner_id = c.owner_id
""")
"""Claims ready jobs, each under a new attempt, until their payloads exceed :max_bytes.

At most one of them is a suspect, and none while the worker runs a suspect that has not run for longer than when it crashed.

Limited kinds are left out unless their rows in `kinds` are locked.

Advances the sequences of the owners of these jobs and of earlier transitions by the number of their events. An owner's first new
sequence (0 for the system) comes with its jobs, or in a row of NULLs if no job of the owner was claimed. All owners
of a transaction are thus locked at once, in one order.
"""

LOCK_LIMITED = sql.prepared(f"""
SELECT k.kind, k.max_running, k.paused_at IS NOT NULL AS is_paused, CASE WHEN k.rate_count > 0 THEN {sql.TOKENS} END AS tokens
FROM jobs.kinds k WHERE k.is_limited AND (k.kind = ANY(:kinds) OR k.kind = '*') ORDER BY k.kind FOR NO KEY UPDATE
""")
COUNT_HELD = sql.prepared(f"SELECT kind, count(*) FROM jobs.jobs WHERE state IN {sql.HELD} GROUP BY kind")
SET_TOKENS = sql.prepared("""
UPDATE jobs.kinds k SET tokens = g.tokens, tokens_at = now()
FROM unnest(CAST(:kinds AS text[]), CAST(:tokens AS double precision[])) AS g (kind, tokens)
WHERE k.kind = g.kind
""")

LOCK_KEYS = sql.prepared(
    "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest(CAST(:keys AS text[])) AS key"
)


def _taken_slots(kind: str, key: str) -> str:
    """Return the number of taken slots of a concurrency key: by its jobs, and by jobs that undo cancelled ones."""
    return f"""((
        SELECT count(*) FROM jobs.jobs t WHERE t.kind = {kind} AND t.concurrency_key = {key}
            AND t.concurrency_key IS NOT NULL AND (t.ready OR t.state IN {sql.OCCUPIES_SLOT})
    ) + (
        SELECT count(*) FROM jobs.jobs u WHERE u.kind = {kind} || '{domain.UNDO}' AND u.concurrency_key = {key}
            AND u.concurrency_key IS NOT NULL AND u.kind LIKE '%{domain.UNDO}' AND u.finished_at IS NULL))"""


ADMIT_WAITING = sql.prepared(f"""
WITH admitted AS MATERIALIZED (
    SELECT a.job_id, a.kind, a.owner_id, row_number() OVER (ORDER BY a.priority DESC, a.created_at, a.job_id) AS position
    FROM (
        SELECT c.* FROM unnest(CAST(:kinds AS text[]), CAST(:keys AS text[])) AS freed (kind, key)
        LEFT JOIN jobs.kinds k ON k.kind = freed.kind
        CROSS JOIN LATERAL (
            SELECT w.job_id, w.kind, w.owner_id, w.priority, w.created_at FROM jobs.jobs w
            WHERE w.kind = freed.kind AND w.concurrency_key = freed.key AND w.state = {sql.PENDING} AND NOT w.ready
            -- Not by the id: the clock of a submitter may be behind.
            ORDER BY w.priority DESC, w.created_at, w.job_id
            LIMIT least(:max_of_key, greatest(0,
                coalesce(k.max_running_per_key, 1) - {_taken_slots("freed.kind", "freed.key")}))
            FOR NO KEY UPDATE SKIP LOCKED
        ) c
        LIMIT :max_jobs
    ) a
), {sql.ranked("admitted", behind=1)}
UPDATE jobs.jobs j SET ready = true, fair_rank = r.fair_rank FROM ranked r
WHERE j.state = {sql.PENDING} AND j.job_id = ANY(ARRAY(SELECT job_id FROM ranked)) AND j.job_id = r.job_id
RETURNING j.kind
""")
"""Makes a bounded number of jobs ready that wait for a slot of their concurrency key.

An earlier statement must have locked the keys.
"""

KEYS_WITH_FREE_SLOTS = sql.prepared(f"""
SELECT w.kind, w.concurrency_key
FROM (SELECT DISTINCT kind, concurrency_key FROM jobs.jobs WHERE state = {sql.PENDING} AND NOT ready) w
LEFT JOIN jobs.kinds k ON k.kind = w.kind
WHERE coalesce(k.max_running_per_key, 1) > {_taken_slots("w.kind", "w.concurrency_key")}
LIMIT :limit
""")
"""Concurrency keys with a free slot and a waiting job."""

_REQUESTED_LEASES = f"""
SELECT {{columns}} FROM unnest(CAST(:job_ids AS uuid[]), CAST(:attempts AS integer[])) AS requested (job_id, attempt)
JOIN jobs.jobs j ON j.job_id = requested.job_id AND j.attempt = requested.attempt AND j.worker = :worker
    AND j.state IN {sql.HELD} AND starts_with(j.kind, :kind_prefix)
"""
RENEW_LEASES = sql.prepared(f"""
WITH held AS MATERIALIZED ({_REQUESTED_LEASES.format(columns="j.job_id")} FOR NO KEY UPDATE OF j SKIP LOCKED)
UPDATE jobs.jobs j SET lease_until = now() + :lease FROM held WHERE j.job_id = held.job_id
RETURNING j.job_id, j.attempt, j.state
""")
"""Renews leases without waiting for a lock: a lock of one job's row must not cost the worker its other leases."""
READ_LEASES = sql.prepared(_REQUESTED_LEASES.format(columns="j.job_id, j.attempt, j.state"))
"""The leases that a worker holds, also of jobs whose rows are locked."""

SET_PROGRESS = sql.prepared(f"""
WITH moved AS (
UPDATE jobs.jobs j SET progress_attempt = :attempt, progress_message = :message, progress_total = :total,
    progress_done = n.done, version = j.version + 1,
    -- A moving average with a half-life of seven seconds; a pause counts once it is over.
    progress_rate = CASE WHEN NOT n.is_same THEN NULL WHEN n.done <= j.progress_done THEN j.progress_rate
        ELSE n.rate + (coalesce(j.progress_rate, n.rate) - n.rate) * exp(-least(greatest(n.seconds, 0), 600) / 10) END,
    progress_at = CASE WHEN n.is_same AND n.done <= j.progress_done THEN j.progress_at ELSE clock_timestamp() END
FROM (
    SELECT r.*, (r.done - r.before) / greatest(r.seconds, 0.001) AS rate FROM (
        SELECT i.is_same, i.before, i.seconds,
            CASE WHEN NOT i.is_same THEN CAST(:done AS bigint) WHEN :total = 0 THEN greatest(i.before, :done)
                ELSE least(greatest(i.before, :done), :total) END AS done
        FROM (
            SELECT progress_attempt = :attempt AND progress_at IS NOT NULL AS is_same, progress_done AS before,
                CAST(extract(epoch FROM clock_timestamp() - progress_at) AS double precision) AS seconds
            FROM jobs.jobs WHERE job_id = :job_id
        ) i
    ) r
) n
WHERE j.job_id = :job_id AND j.attempt = :attempt AND j.state IN {sql.HELD} AND starts_with(j.kind, :kind_prefix)
RETURNING {sql.light_columns("j")}
), resumed AS (
UPDATE jobs.attempts a SET resumed_done = m.progress_done FROM moved m
WHERE :attempt > 1 AND a.job_id = m.job_id AND a.attempt = :attempt AND a.resumed_done IS NULL
)
SELECT * FROM moved
""")
"""Stores the progress of an attempt, and where a later attempt than the first resumed.

A worker sends the reports of an attempt one after the other."""

_LAST_PROGRESS_COLUMNS = "progress_done bigint, progress_total bigint, progress_message text"
_LAST_PROGRESS_DONE = """CASE WHEN g.progress_done IS NULL THEN j.progress_done
            WHEN j.progress_attempt <> g.attempt THEN g.progress_done
            ELSE least(greatest(j.progress_done, g.progress_done), nullif(g.progress_total, 0)) END"""
_LAST_PROGRESS = """progress_attempt = CASE WHEN g.progress_done IS NULL THEN j.progress_attempt ELSE g.attempt END,
        progress_message = coalesce(g.progress_message, j.progress_message)"""
"""Stores the progress that comes with the end of an attempt, if any: never less than before within an attempt."""

_END = f"""
WITH given AS (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (job_id uuid, attempt integer, action text, state text,
        outcome text, attempt_error_code text, attempt_error_message text, exception_type text, exception_message text,
        traceback text, place text, fingerprint text, lease_until timestamptz, result jsonb, error_code text, error_message text,
        cancel_reason text, max_attempts integer, crashes integer, errors integer, delay double precision,
        awaits_children boolean, {_LAST_PROGRESS_COLUMNS})
), ended AS (
    UPDATE jobs.jobs j SET state = g.state, version = j.version + 1, worker = NULL, lease_until = NULL,
        finished_at = CASE WHEN g.state IN {sql.FINISHED} THEN now() END, run_at = now() + make_interval(secs => g.delay),
        ready = g.state = '{State.RETRYING}' AND g.delay = 0, awaits_children = g.awaits_children,
        progress_done = CASE WHEN g.awaits_children THEN j.children_ended ELSE {_LAST_PROGRESS_DONE} END,
        progress_total = CASE WHEN g.awaits_children THEN j.children_total ELSE coalesce(g.progress_total, j.progress_total) END,
        {_LAST_PROGRESS},
        result = g.result, error_code = g.error_code, error_message = g.error_message, cancel_reason = g.cancel_reason,
        max_attempts = g.max_attempts, crashes = g.crashes, errors = g.errors
    FROM given g
    WHERE j.job_id = g.job_id AND j.attempt = g.attempt AND (g.action, j.state) IN ({sql.MOVES})
    RETURNING {sql.light_columns("j")}
), attempt AS (
    UPDATE jobs.attempts a SET finished_at = now(), outcome = g.outcome, error_code = g.attempt_error_code,
        error_message = g.attempt_error_message, exception_type = g.exception_type, exception_message = g.exception_message,
        traceback = g.traceback, place = g.place, fingerprint = g.fingerprint, lease_until = g.lease_until,
        progress_done = CASE WHEN e.progress_attempt = g.attempt THEN e.progress_done END,
        progress_total = CASE WHEN e.progress_attempt = g.attempt THEN e.progress_total END
    FROM given g JOIN ended e ON e.job_id = g.job_id
    WHERE a.job_id = g.job_id AND a.attempt = g.attempt
), forgotten AS (
    UPDATE jobs.attempts a SET traceback = NULL FROM given g
    WHERE g.traceback IS NOT NULL AND a.job_id = g.job_id AND a.attempt = g.attempt - {domain.RECORDED_ATTEMPTS}
), old_attempts AS (
    -- Ten at a time, the oldest first, as events: a job of an earlier release may have thousands.
    DELETE FROM jobs.attempts a USING given g
    WHERE g.attempt > {domain.KEPT_ATTEMPTS} AND a.job_id = g.job_id AND a.attempt = ANY(ARRAY(
        SELECT o.attempt FROM jobs.attempts o WHERE o.job_id = g.job_id AND o.attempt <= g.attempt - {domain.KEPT_ATTEMPTS}
        ORDER BY o.attempt LIMIT 10))
), old_events AS (
    -- An attempt has three.
    DELETE FROM jobs.job_events e USING given g
    WHERE g.attempt > {domain.KEPT_ATTEMPTS} AND e.job_id = g.job_id AND e.sequence = ANY(ARRAY(
        SELECT o.sequence FROM jobs.job_events o WHERE o.job_id = g.job_id AND o.attempt <= g.attempt - {domain.KEPT_ATTEMPTS}
        ORDER BY o.sequence LIMIT 10))
)
"""

END_ATTEMPTS = sql.prepared(f"{_END} SELECT * FROM ended")
"""Ends attempts, and applies the decisions to their jobs."""
END_ATTEMPTS_NUMBERED = sql.prepared(_END + sql.numbered("ended"))
"""The same, and numbers their events. No lock of a parent or a key may follow in the transaction."""

COMPLETE_ATTEMPTS = sql.prepared(f"""
WITH given AS (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (job_id uuid, attempt integer, kind_prefix text, result jsonb,
        {_LAST_PROGRESS_COLUMNS})
), held AS MATERIALIZED (
    SELECT j.job_id FROM jobs.jobs j JOIN given g ON g.job_id = j.job_id AND g.attempt = j.attempt
    WHERE j.state IN {sql.sources_of(Action.COMPLETE)} AND j.concurrency_key IS NULL AND j.parent_id IS NULL
        AND starts_with(j.kind, g.kind_prefix)
    ORDER BY j.job_id FOR NO KEY UPDATE OF j
), ended AS (
    UPDATE jobs.jobs j SET state = {sql.target_of(Action.COMPLETE)}, version = j.version + 1, worker = NULL, lease_until = NULL,
        finished_at = now(), run_at = now(), result = g.result, error_code = NULL, error_message = NULL, cancel_reason = NULL,
        progress_done = {_LAST_PROGRESS_DONE}, progress_total = coalesce(g.progress_total, j.progress_total), {_LAST_PROGRESS}
    FROM given g JOIN held h ON h.job_id = g.job_id
    WHERE j.job_id = g.job_id AND j.attempt = g.attempt AND j.state IN {sql.sources_of(Action.COMPLETE)}
    RETURNING {sql.light_columns("j")}
), attempt AS (
    UPDATE jobs.attempts a SET finished_at = now(), outcome = '{outcomes.outcome_name(outcomes.Completed())}'
    FROM ended e WHERE a.job_id = e.job_id AND a.attempt = e.attempt
){sql.numbered("ended")}""")
"""Completes jobs without parent or concurrency key, the most common end, without reading them first; numbers their events."""
FORGIVE_CRASHES = sql.prepared(f"""
WITH free AS MATERIALIZED (
    SELECT j.job_id FROM jobs.jobs j WHERE j.job_id = ANY(:job_ids) AND j.crashes > 0 AND j.state NOT IN {sql.FINISHED}
        AND (SELECT count(*) FROM jobs.attempts a WHERE a.job_id = j.job_id AND a.error_code = 'lease_lost') < :limit
    FOR NO KEY UPDATE OF j SKIP LOCKED
), survived AS (
    UPDATE jobs.attempts a SET error_code = 'lease_lost', error_message = 'The worker was out of reach for too long.'
    FROM free f JOIN unnest(CAST(:job_ids AS uuid[]), CAST(:attempts AS integer[])) AS g (job_id, attempt)
        ON g.job_id = f.job_id
    WHERE a.job_id = g.job_id AND a.attempt = g.attempt AND a.worker = coalesce(nullif(:worker, ''), a.worker)
        AND a.error_code IS NULL AND a.outcome = '{outcomes.outcome_name(outcomes.Crashed())}'
    RETURNING a.job_id
)
UPDATE jobs.jobs j SET crashes = greatest(0, j.crashes - s.count), version = j.version + 1
FROM (SELECT job_id, count(*) AS count FROM survived GROUP BY job_id) s WHERE j.job_id = s.job_id
""")
"""Takes back crashes that the worker survived: it lost the leases by a pause or a partition. Waits for no lock."""


_ORPHANS = f"""FROM jobs.jobs c JOIN jobs.jobs p ON p.job_id = c.parent_id
WHERE c.parent_id IS NOT NULL AND c.finished_at IS NULL AND c.state <> '{State.CANCELLING}'
    AND p.state IN {sql.states(domain.ORPHANS_CHILDREN)}"""
ORPHANS = sql.source("c", _ORPHANS)


@functools.cache
def orphans(*, of_parent: bool) -> Prepared:
    """Return the statement that locks unfinished children of failed, cancelled or cancelling parents, or of one such parent."""
    return sql.prepared(f"""
SELECT {sql.light_columns("c")} {_ORPHANS}
    AND {"c.parent_id = :parent_id" if of_parent else "CAST(:parent_id AS uuid) IS NULL"}
    AND {sql.selected("c")}
LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
""")


NEXT_FAIR_RANK = """(
    SELECT greatest(coalesce(max(k.fair_rank), 0), (
        SELECT max(w.fair_rank) + 1 FROM jobs.jobs w WHERE w.kind = :ranked_kind AND w.owner_id = :ranked_owner AND w.ready))
    FROM jobs.kinds k WHERE k.kind = :ranked_kind)"""
"""The fair rank of one job that becomes ready."""

LAST_SEQUENCES = sql.prepared("SELECT owner_id, last_sequence FROM jobs.owners WHERE owner_id = ANY(:owner_ids)")
NEXT_SEQUENCES = sql.prepared(f"""
INSERT INTO jobs.owners AS o (owner_id, last_sequence, timeline)
SELECT g.owner_id, g.count, {sql.TIMELINE}
FROM unnest(CAST(:owner_ids AS uuid[]), CAST(:counts AS bigint[])) AS g (owner_id, count)
ORDER BY g.owner_id
ON CONFLICT (owner_id) DO UPDATE SET {sql.ADVANCED}
RETURNING o.owner_id, o.last_sequence
""")
INSERT_EVENTS = sql.prepared("""
INSERT INTO jobs.job_events (owner_id, sequence, job_id, state, attempt, reason, event)
SELECT * FROM unnest(CAST(:owner_ids AS uuid[]), CAST(:sequences AS bigint[]), CAST(:job_ids AS uuid[]),
    CAST(:states AS text[]), CAST(:attempts AS integer[]), CAST(:reasons AS text[]), CAST(:events AS bytea[]))
""")
