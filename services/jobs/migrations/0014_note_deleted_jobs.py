"""Note the ids of jobs that were deleted young: a submit that an outbox repeats late must not run them again."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the table; ids sort by time, so its key finds the oldest."""
    op.execute("CREATE TABLE deleted_jobs (job_id uuid PRIMARY KEY)")
