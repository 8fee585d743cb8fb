"""Index waiting jobs of a concurrency key in the order in which they were stored."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Build the index beside running transactions; one that an interrupted upgrade left invalid is built again."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS jobs_keys_in_order")
        op.execute(
            "CREATE INDEX CONCURRENTLY jobs_keys_in_order ON jobs (kind, concurrency_key, priority DESC, created_at, job_id)"
            " WHERE state = 'pending' AND NOT ready"
        )
