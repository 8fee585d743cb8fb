"""Number the checkpoints of an attempt: a call that arrives late replaces no later value."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column; a constant default rewrites no row."""
    op.execute("ALTER TABLE checkpoints ADD COLUMN number integer NOT NULL DEFAULT 0")
