"""Let the erasure of an admin's account find the changes of jobs that name it."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Build the index beside running transactions."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS job_changes_of_actor")
        op.execute(
            "CREATE INDEX CONCURRENTLY job_changes_of_actor ON job_changes (actor_id) WHERE actor_id IS NOT NULL"
        )
