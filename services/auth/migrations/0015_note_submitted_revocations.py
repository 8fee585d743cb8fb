"""Store when the revocation of tokens was last submitted, so that all of them get their turn."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column, whose constant default rewrites no row, and build its index beside running transactions."""
    table = "connection_pending_revocations"
    op.execute(f"ALTER TABLE {table} ADD COLUMN submitted_at timestamptz NOT NULL DEFAULT now()")
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_to_submit")
        op.execute(f"CREATE INDEX CONCURRENTLY {table}_to_submit ON {table} (submitted_at)")
