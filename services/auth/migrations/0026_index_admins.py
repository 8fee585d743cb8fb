"""Let each start find out whether there is an admin without reading all users."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Build the index beside running transactions."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS users_admins")
        op.execute("CREATE INDEX CONCURRENTLY users_admins ON users (user_id) WHERE role = 'admin'")
