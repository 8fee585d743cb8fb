"""Store the categories of which a user wants no notices on pages."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column with a constant default, and check the existing rows without blocking writes."""
    # Repeatable: the block below commits this before the version is stored.
    op.execute("ALTER TABLE users ADD COLUMN IF NOT EXISTS muted_notices text[] NOT NULL DEFAULT '{}'")
    op.execute("""
        ALTER TABLE users
            DROP CONSTRAINT IF EXISTS users_muted_notices_are_known,
            ADD CONSTRAINT users_muted_notices_are_known
            CHECK (muted_notices <@ ARRAY['demo_mode', 'exports', 'connections', 'other']) NOT VALID
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_muted_notices_are_known")
