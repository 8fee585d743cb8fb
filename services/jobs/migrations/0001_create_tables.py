"""Create the tables of the jobs service."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE jobs (
    job_id uuid PRIMARY KEY,
    owner_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN -100 AND 100),
    budget integer NOT NULL CHECK (budget BETWEEN 1 AND 100),
    backoff interval NOT NULL,
    max_backoff interval NOT NULL,
    attempt_timeout interval NOT NULL,
    unique_key text,
    scheduled_at timestamptz,

    state text NOT NULL,
    run_at timestamptz NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    crashes integer NOT NULL DEFAULT 0 CHECK (crashes >= 0),
    errors integer NOT NULL DEFAULT 0 CHECK (errors >= 0),
    worker text,
    lease_until timestamptz,
    progress_attempt integer NOT NULL DEFAULT 0,
    progress_done bigint NOT NULL DEFAULT 0,
    progress_total bigint NOT NULL DEFAULT 0,
    progress_message text NOT NULL DEFAULT '',
    result jsonb,
    error_code text,
    error_message text,
    cancel_reason text,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,

    CONSTRAINT jobs_state_known CHECK (state IN (
        'scheduled', 'pending', 'running', 'retrying', 'cancelling', 'completed', 'failed', 'cancelled')),
    CONSTRAINT jobs_finished_iff_terminal CHECK (
        (finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT jobs_leased_iff_held CHECK (
        (lease_until IS NOT NULL) = (state IN ('running', 'cancelling')) AND (worker IS NOT NULL) = (lease_until IS NOT NULL)),
    CONSTRAINT jobs_attempt_in_bounds CHECK (attempt BETWEEN 0 AND max_attempts),
    CONSTRAINT jobs_started_iff_attempted CHECK ((started_at IS NOT NULL) = (attempt > 0)),
    CONSTRAINT jobs_result_iff_completed CHECK ((result IS NOT NULL) = (state = 'completed')),
    CONSTRAINT jobs_error_if_failed CHECK (state <> 'failed' OR error_code IS NOT NULL),
    CONSTRAINT jobs_error_whole CHECK ((error_code IS NULL) = (error_message IS NULL)),
    CONSTRAINT jobs_cancel_reason_iff_cancelled CHECK (
        (cancel_reason IS NOT NULL) = (state IN ('cancelling', 'cancelled'))),
    CONSTRAINT jobs_progress_in_bounds CHECK (
        progress_done >= 0 AND progress_total >= 0 AND (progress_total = 0 OR progress_done <= progress_total))
);
CREATE UNIQUE INDEX jobs_unique_key ON jobs (unique_key)
    WHERE unique_key IS NOT NULL AND state NOT IN ('completed', 'failed', 'cancelled');
CREATE INDEX jobs_claimable ON jobs (kind, priority DESC, run_at, job_id) WHERE state IN ('pending', 'retrying');
CREATE INDEX jobs_due ON jobs (run_at) WHERE state IN ('scheduled', 'pending', 'retrying');
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state IN ('running', 'cancelling');
CREATE INDEX jobs_of_owner ON jobs (owner_id, created_at DESC, job_id DESC);

CREATE TABLE attempts (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt integer NOT NULL CHECK (attempt >= 1),
    worker text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome text,
    error_code text,
    error_message text,
    PRIMARY KEY (job_id, attempt),
    CONSTRAINT attempts_outcome_known CHECK (outcome IN ('completed', 'failed', 'cancelled', 'released', 'crashed')),
    CONSTRAINT attempts_finished_iff_outcome CHECK ((finished_at IS NULL) = (outcome IS NULL))
);

CREATE TABLE owners (
    owner_id uuid PRIMARY KEY,
    last_sequence bigint NOT NULL CHECK (last_sequence >= 1)
);

CREATE TABLE job_events (
    owner_id uuid NOT NULL,
    sequence bigint NOT NULL,
    job_id uuid NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL,
    reason text NOT NULL,
    event bytea NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, sequence)
);
CREATE INDEX job_events_of_job ON job_events (job_id, sequence);

CREATE TABLE outbox (
    message_id uuid PRIMARY KEY,
    subject text NOT NULL,
    payload bytea NOT NULL,
    send_after timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(STATEMENTS)
