"""Drop the inbox, and rename constraints.

The version, attempt and generation of a job decide whether its event has an effect.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = """
DROP TABLE inbox;
ALTER TABLE demo_modes RENAME CONSTRAINT demo_modes_wish_whole TO demo_modes_options_whole;
ALTER TABLE demo_modes RENAME CONSTRAINT demo_modes_wish_in_bounds TO demo_modes_options_in_bounds;
ALTER TABLE demo_modes RENAME CONSTRAINT demo_modes_expires_iff_enabled_and_wished
    TO demo_modes_expires_iff_enabled_with_expiry;
"""


def upgrade() -> None:
    """Drop the table, and rename the constraints."""
    op.execute(STATEMENTS)
