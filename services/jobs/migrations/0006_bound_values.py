"""Store the sizes of payloads and checkpoints: claims, lists and checkpoints are bounded by bytes."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; a constant default rewrites no row."""
    op.execute("ALTER TABLE jobs ADD COLUMN payload_bytes integer NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE checkpoints ADD COLUMN size integer NOT NULL DEFAULT 0")
