"""Let operators put jobs on hold, and record who put them on hold and released them."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"

STATEMENTS = (
    "ALTER TABLE jobs ADD COLUMN IF NOT EXISTS hold_run_at timestamptz",
    "ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_on_hold_whole",
    # A job on hold has this run_at: no other job can have it, and the previous release reads it as a job of a later time.
    # Cancelled or past its deadline, it keeps it until a retry.
    """ALTER TABLE jobs ADD CONSTRAINT jobs_on_hold_whole CHECK (
        (run_at < '9999-01-01 00:00:00+00' OR (run_at = '9999-01-01 00:00:00+00' AND hold_run_at IS NOT NULL
            AND state IN ('scheduled', 'failed', 'cancelled')))
        AND (hold_run_at IS NULL OR hold_run_at < '9999-01-01 00:00:00+00')) NOT VALID""",
    "ALTER TABLE jobs VALIDATE CONSTRAINT jobs_on_hold_whole",
    """CREATE TABLE IF NOT EXISTS job_changes (
        change_id uuid PRIMARY KEY,
        job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
        change text NOT NULL CHECK (change IN ('hold', 'release')),
        -- NULL: the command line, or an account that was erased since.
        actor_id uuid,
        changed_at timestamptz NOT NULL DEFAULT now()
    )""",
    "DROP INDEX CONCURRENTLY IF EXISTS job_changes_of_job",
    "CREATE INDEX CONCURRENTLY job_changes_of_job ON job_changes (job_id, change_id DESC)",
)


def upgrade() -> None:
    """Work beside running transactions; an interrupted upgrade begins again. A column without a default rewrites no row."""
    with op.get_context().autocommit_block():
        for statement in STATEMENTS:
            op.execute(statement)
