"""Validate the names of schedules that 0015 constrains: a transaction of its own keeps the lock short."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Read the table under a lock that permits reads and writes."""
    op.execute("ALTER TABLE schedules VALIDATE CONSTRAINT operators_have_names_of_their_own")
