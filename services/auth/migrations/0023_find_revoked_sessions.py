"""Let the maintenance find sessions that were revoked long ago, before they would have expired."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Build the index beside running transactions."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS sessions_revoked")
        op.execute("CREATE INDEX CONCURRENTLY sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL")
