"""Count how often a message of the outbox was sent: each try doubles the time to the next one."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; a constant default rewrites no row."""
    op.execute("ALTER TABLE outbox ADD COLUMN attempts integer NOT NULL DEFAULT 0")
