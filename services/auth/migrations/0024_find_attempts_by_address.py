"""Let the erasure of an account find the attempts at its address without reading all security events."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Build the index beside running transactions."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS security_events_attempts_at_address")
        op.execute(
            "CREATE INDEX CONCURRENTLY security_events_attempts_at_address ON security_events ((details ->> 'email'))"
            " WHERE actor_id IS NULL AND kind IN ('login_failed', 'second_factor_failed', 'passkey_failed',"
            " 'passkey_counter_regressed', 'password_reset_requested', 'registration_repeated')"
        )
