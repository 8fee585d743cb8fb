"""Let the erasure of an account find its sessions and links: foreign keys search for them whatever their state."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Build the indexes beside running transactions."""
    with op.get_context().autocommit_block():
        for table in ("sessions", "mail_tokens"):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_by_user")
            op.execute(f"CREATE INDEX CONCURRENTLY {table}_by_user ON {table} (user_id)")
