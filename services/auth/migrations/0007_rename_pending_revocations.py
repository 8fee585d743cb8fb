"""Rename the table of tokens that are to be revoked."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Rename the table."""
    op.execute("ALTER TABLE connection_leftovers RENAME TO connection_pending_revocations")
