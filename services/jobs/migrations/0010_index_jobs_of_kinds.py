"""Index finished jobs by kind and submit, for the lists of operators."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Build the index beside running transactions; one that an interrupted upgrade left invalid is built again."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS jobs_of_kind")
        op.execute("CREATE INDEX CONCURRENTLY jobs_of_kind ON jobs (kind, job_id DESC) WHERE finished_at IS NOT NULL")
