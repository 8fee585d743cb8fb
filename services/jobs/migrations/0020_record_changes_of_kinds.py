"""Record who paused, resumed and limited a kind."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"

STATEMENTS = """
CREATE TABLE kind_changes (
    change_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (char_length(kind) <= 100),
    change text NOT NULL CHECK (change IN ('paused', 'resumed', 'limited')),
    details text NOT NULL CHECK (char_length(details) <= 200),
    -- NULL: the command line, or an account that was erased since.
    actor_id uuid,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX kind_changes_of_kind ON kind_changes (kind, change_id DESC);
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(STATEMENTS)
