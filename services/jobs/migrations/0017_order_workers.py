"""Store when a worker process registered first: it orders the versions of a program during a rolling restart."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column; its default is constant within the statement, so no row is rewritten."""
    op.execute("ALTER TABLE workers ADD COLUMN registered_at timestamptz NOT NULL DEFAULT now()")
