"""Store the time zone and the theme of each user."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns with constant defaults, and check the existing rows without blocking writes."""
    op.execute("""
        ALTER TABLE users
            ADD COLUMN time_zone text NOT NULL DEFAULT '',
            ADD COLUMN theme text NOT NULL DEFAULT 'system';
    """)
    op.execute("""
        ALTER TABLE users
            ADD CONSTRAINT users_time_zone_is_a_name CHECK (time_zone ~ '^[A-Za-z0-9+_/-]{0,64}$') NOT VALID,
            ADD CONSTRAINT users_theme_is_known CHECK (theme IN ('system', 'light', 'dark')) NOT VALID;
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_time_zone_is_a_name")
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_theme_is_known")
