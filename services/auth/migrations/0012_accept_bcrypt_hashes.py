"""Accept bcrypt hashes of imported accounts; the next sign-in replaces each by argon2id."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

BCRYPT = r"^\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}$"


def upgrade() -> None:
    """Replace the constraint, and validate the new one beside running transactions."""
    op.execute(f"""
        ALTER TABLE users
            DROP CONSTRAINT IF EXISTS users_password_is_hashed,
            ADD CONSTRAINT users_password_is_hashed
                CHECK (password_hash LIKE '$argon2id$%' OR password_hash ~ '{BCRYPT}') NOT VALID
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_password_is_hashed")
