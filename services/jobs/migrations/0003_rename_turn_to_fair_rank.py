"""Rename the column `turn` to `fair_rank`."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = """
ALTER TABLE jobs RENAME COLUMN turn TO fair_rank;
ALTER TABLE kinds RENAME COLUMN turn TO fair_rank;
ALTER INDEX jobs_turns RENAME TO jobs_fair_ranks;
"""


def upgrade() -> None:
    """Rename the columns and the index."""
    op.execute(STATEMENTS)
