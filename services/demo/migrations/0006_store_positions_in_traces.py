"""Store positions in traces with messages, so that a trace goes on after a crash."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; without a default no row is rewritten."""
    op.execute("ALTER TABLE outbox ADD COLUMN traceparent text")
