"""Index unfinished jobs by owner, unsuccessful jobs by state, and the concurrency keys of undo jobs."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

INDEXES = {
    "jobs_unfinished": "(owner_id, job_id DESC) WHERE finished_at IS NULL",
    "jobs_unsuccessful": "(state, job_id DESC) WHERE state IN ('failed', 'cancelled')",
    "jobs_undo_keys": (
        "(kind, concurrency_key) WHERE kind LIKE '%.undo' AND concurrency_key IS NOT NULL AND finished_at IS NULL"
    ),
}


def upgrade() -> None:
    """Build the indexes beside running transactions; an index that an interrupted upgrade left invalid is built again."""
    with op.get_context().autocommit_block():
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON jobs {definition}")
