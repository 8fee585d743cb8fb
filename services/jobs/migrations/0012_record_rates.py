"""Record the rates of kinds, and what workers register about themselves."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = """
CREATE TABLE kind_rates (
    kind text NOT NULL,
    span text NOT NULL CHECK (span IN ('minute', 'hour')),
    begins_at timestamptz NOT NULL CHECK (begins_at = date_trunc(span, begins_at, 'UTC')),
    completed integer NOT NULL CHECK (completed >= 0),
    failed integer NOT NULL CHECK (failed >= 0),
    cancelled integer NOT NULL CHECK (cancelled >= 0),
    waiting integer NOT NULL CHECK (waiting >= 0),
    waits integer[] NOT NULL CHECK (cardinality(waits) = 48),
    runs integer[] NOT NULL CHECK (cardinality(runs) = 48),
    PRIMARY KEY (span, kind, begins_at)
);
ALTER TABLE workers
    ADD COLUMN host text NOT NULL DEFAULT '',
    ADD COLUMN version text NOT NULL DEFAULT '',
    ADD COLUMN concurrency integer NOT NULL DEFAULT 0,
    ADD COLUMN started_at timestamptz;
"""


def upgrade() -> None:
    """Create the table and add the columns; a constant default rewrites no row."""
    op.execute(STATEMENTS)
