"""Kinds, flow control, checkpoints, schedules, groups, deadlines, notifications."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = """
CREATE TABLE kinds (
    kind text PRIMARY KEY,
    max_attempts integer CHECK (max_attempts BETWEEN 1 AND 100),
    backoff interval,
    max_backoff interval,
    attempt_timeout interval,
    total_timeout interval,
    priority smallint CHECK (priority BETWEEN -100 AND 100),
    notifies boolean NOT NULL DEFAULT false,
    undoes boolean NOT NULL DEFAULT false,
    retention interval NOT NULL DEFAULT '7 days' CHECK (retention > '0'),
    declared_at timestamptz,

    max_running integer NOT NULL DEFAULT 0 CHECK (max_running >= 0),
    max_running_per_key integer NOT NULL DEFAULT 1 CHECK (max_running_per_key >= 1),
    rate_count integer NOT NULL DEFAULT 0 CHECK (rate_count >= 0),
    rate_period interval CHECK (rate_period > '0'),
    paused_at timestamptz,
    is_limited boolean GENERATED ALWAYS AS (paused_at IS NOT NULL OR max_running > 0 OR rate_count > 0) STORED,
    tokens double precision NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    tokens_at timestamptz NOT NULL DEFAULT now(),
    turn bigint NOT NULL DEFAULT 0,
    CONSTRAINT kinds_rate_whole CHECK ((rate_count > 0) = (rate_period IS NOT NULL))
);
INSERT INTO kinds (kind) VALUES ('*');

CREATE TABLE workers (
    worker text PRIMARY KEY,
    kinds text[] NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE jobs
    ADD COLUMN concurrency_key text,
    ADD COLUMN total_timeout interval,
    ADD COLUMN deadline timestamptz,
    ADD COLUMN parent_id uuid,
    ADD COLUMN children_total integer NOT NULL DEFAULT 0,
    ADD COLUMN children_ended integer NOT NULL DEFAULT 0,
    ADD COLUMN children_unsuccessful integer NOT NULL DEFAULT 0,
    ADD COLUMN awaits_children boolean NOT NULL DEFAULT false,
    ADD COLUMN notifies boolean NOT NULL DEFAULT false,
    ADD COLUMN undoes boolean NOT NULL DEFAULT false,
    ADD COLUMN read_at timestamptz,
    ADD COLUMN turn bigint NOT NULL DEFAULT 0,
    ADD COLUMN ready boolean NOT NULL DEFAULT false,
    ADD COLUMN progress_rate double precision,
    ADD COLUMN progress_at timestamptz;
UPDATE jobs SET ready = true WHERE state = 'pending';
ALTER TABLE jobs
    ADD CONSTRAINT jobs_ready_if_claimable CHECK (NOT ready OR state IN ('pending', 'retrying')),
    ADD CONSTRAINT jobs_pending_without_key_is_ready CHECK (state <> 'pending' OR ready OR concurrency_key IS NOT NULL),
    ADD CONSTRAINT jobs_children_counted CHECK (
        children_unsuccessful BETWEEN 0 AND children_ended AND children_ended <= children_total),
    ADD CONSTRAINT jobs_awaits_living_children CHECK (
        NOT awaits_children OR (state = 'scheduled' AND children_ended < children_total)),
    ADD CONSTRAINT jobs_deadline_iff_timeout CHECK ((deadline IS NULL) = (total_timeout IS NULL)),
    ADD CONSTRAINT jobs_read_if_ended CHECK (read_at IS NULL OR finished_at IS NOT NULL);

DROP INDEX jobs_claimable, jobs_due, jobs_leases, jobs_of_owner;
CREATE INDEX jobs_ready ON jobs (kind, priority DESC, turn, job_id) WHERE ready;
CREATE INDEX jobs_turns ON jobs (kind, owner_id, turn) WHERE ready;
CREATE INDEX jobs_due ON jobs (run_at) WHERE state IN ('scheduled', 'retrying') AND NOT ready AND NOT awaits_children;
CREATE INDEX jobs_held ON jobs (kind) WHERE state IN ('running', 'cancelling');
CREATE INDEX jobs_awaiting ON jobs (kind) WHERE awaits_children;
CREATE INDEX jobs_keys_taken ON jobs (kind, concurrency_key)
    WHERE concurrency_key IS NOT NULL AND (ready OR state IN ('running', 'retrying', 'cancelling'));
CREATE INDEX jobs_keys_waiting ON jobs (kind, concurrency_key, priority DESC, job_id)
    WHERE state = 'pending' AND NOT ready;
CREATE INDEX jobs_deadlines ON jobs (deadline)
    WHERE deadline IS NOT NULL AND state IN ('scheduled', 'pending', 'retrying');
CREATE INDEX jobs_of_owner ON jobs (owner_id, job_id DESC);
CREATE INDEX jobs_children ON jobs (parent_id, job_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_finished ON jobs (kind, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_unread ON jobs (owner_id, finished_at DESC, job_id DESC)
    WHERE notifies AND finished_at IS NOT NULL AND read_at IS NULL;
-- Rows change several times in seconds and rest then: what is dead must go soon, or claims wade through it.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02, fillfactor = 80);
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

ALTER TABLE attempts
    DROP CONSTRAINT attempts_outcome_known,
    ADD CONSTRAINT attempts_outcome_known CHECK (
        outcome IN ('completed', 'failed', 'cancelled', 'released', 'snoozed', 'waiting', 'crashed'));

CREATE TABLE checkpoints (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    attempt integer NOT NULL CHECK (attempt >= 1),
    value jsonb NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, name)
);

CREATE TABLE schedules (
    name text PRIMARY KEY,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    catch_up text NOT NULL CHECK (catch_up IN ('last', 'none', 'all')),
    overlap text NOT NULL CHECK (overlap IN ('skip', 'allow', 'queue')),
    declared_at timestamptz NOT NULL DEFAULT now(),
    paused_at timestamptz,
    next_at timestamptz,
    last_at timestamptz,
    last_job_id uuid,
    CONSTRAINT schedules_next_iff_not_paused CHECK ((next_at IS NULL) = (paused_at IS NOT NULL))
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
"""


def upgrade() -> None:
    """Change everything."""
    op.execute(STATEMENTS)
