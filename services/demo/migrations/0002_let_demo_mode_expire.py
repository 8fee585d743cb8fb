"""Let demo mode be disabled automatically."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = """
ALTER TABLE demo_modes
    ADD COLUMN expire_after interval
        CONSTRAINT demo_modes_expire_after_in_bounds CHECK (expire_after BETWEEN '10 minutes' AND '90 days'),
    ADD COLUMN expires_at timestamptz,
    ADD CONSTRAINT demo_modes_expires_iff_enabled_and_wished CHECK (
        (expires_at IS NOT NULL) = (state = 'enabled' AND expire_after IS NOT NULL));
CREATE INDEX demo_modes_expiring ON demo_modes (expires_at, owner_id) WHERE expires_at IS NOT NULL;
"""


def upgrade() -> None:
    """Change everything."""
    op.execute(STATEMENTS)
