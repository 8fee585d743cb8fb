"""Note the timeline of the database in which an owner's newest event was written."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; NULL is the timeline of the next event."""
    op.execute("ALTER TABLE owners ADD COLUMN timeline text")
