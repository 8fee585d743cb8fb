"""Validate the bounds of attempts, and index failed attempts by fingerprint."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

CONSTRAINTS = ("attempts_exception_bounded", "attempts_fingerprint_if_unsuccessful", "attempts_log_bounded")


def upgrade() -> None:
    """Work beside running transactions; an interrupted upgrade begins again."""
    with op.get_context().autocommit_block():
        for constraint in CONSTRAINTS:
            op.execute(f"ALTER TABLE attempts VALIDATE CONSTRAINT {constraint}")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS attempts_failures")
        op.execute(
            "CREATE INDEX CONCURRENTLY attempts_failures ON attempts (fingerprint, finished_at DESC)"
            " WHERE fingerprint IS NOT NULL"
        )
