"""Store positions in traces with jobs and messages, so that a trace goes on after a crash."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the columns; without a default no row is rewritten."""
    op.execute("ALTER TABLE jobs ADD COLUMN traceparent text")
    op.execute("ALTER TABLE outbox ADD COLUMN traceparent text")
