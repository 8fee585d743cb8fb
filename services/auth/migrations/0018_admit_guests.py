"""Admit guests: accounts without an address, which are deleted after hours."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"

_CONSTRAINTS = ("users_role_is_known", "users_admins_are_not_deleted", "users_guests_are_deleted")


def upgrade() -> None:
    """Extend the constraints, and build the index of guests, beside running transactions."""
    op.execute("""
        ALTER TABLE users
            DROP CONSTRAINT users_role_is_known,
            DROP CONSTRAINT users_admins_are_not_deleted,
            ADD CONSTRAINT users_role_is_known CHECK (role IN ('user', 'admin', 'guest')) NOT VALID,
            ADD CONSTRAINT users_admins_are_not_deleted CHECK (deletion_id IS NULL OR role <> 'admin') NOT VALID,
            ADD CONSTRAINT users_guests_are_deleted CHECK (role <> 'guest' OR deletion_id IS NOT NULL) NOT VALID
    """)
    with op.get_context().autocommit_block():
        for constraint in _CONSTRAINTS:
            op.execute(f"ALTER TABLE users VALIDATE CONSTRAINT {constraint}")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS users_guests")
        op.execute("CREATE INDEX CONCURRENTLY users_guests ON users (user_id) WHERE role = 'guest'")
