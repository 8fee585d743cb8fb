"""Record why and where attempts failed, how far they came, and what they logged."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = """
ALTER TABLE attempts
    ADD COLUMN exception_type text,
    ADD COLUMN exception_message text,
    ADD COLUMN traceback text,
    ADD COLUMN place text,
    ADD COLUMN fingerprint text,
    ADD COLUMN progress_done bigint,
    ADD COLUMN progress_total bigint,
    ADD COLUMN resumed_done bigint,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN log_lines integer NOT NULL DEFAULT 0,
    ADD COLUMN log_bytes integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT attempts_exception_bounded CHECK (
        length(exception_type) <= 200 AND octet_length(exception_message) <= 2048
        AND octet_length(traceback) <= 16384 AND length(place) <= 200) NOT VALID,
    ADD CONSTRAINT attempts_fingerprint_if_unsuccessful CHECK (
        fingerprint IS NULL OR (outcome IN ('failed', 'crashed') AND length(fingerprint) = 16)) NOT VALID,
    ADD CONSTRAINT attempts_log_bounded CHECK (log_lines BETWEEN 0 AND 1000 AND log_bytes BETWEEN 0 AND 131072) NOT VALID;

CREATE TABLE attempt_logs (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt integer NOT NULL CHECK (attempt >= 1),
    number integer NOT NULL CHECK (number BETWEEN 1 AND 1000),
    logged_at timestamptz NOT NULL,
    level text NOT NULL CHECK (level IN ('debug', 'info', 'warning', 'error', 'critical')),
    logger text NOT NULL CHECK (length(logger) <= 100),
    text text NOT NULL CHECK (octet_length(text) <= 4096),
    PRIMARY KEY (job_id, attempt, number)
);

ALTER TABLE checkpoints ADD COLUMN seconds double precision;
ALTER TABLE kinds ADD COLUMN sensitive text[] NOT NULL DEFAULT '{}';
"""


def upgrade() -> None:
    """Add columns, which rewrites no row, and the table of log lines; the next migration validates the constraints."""
    op.execute(STATEMENTS)
