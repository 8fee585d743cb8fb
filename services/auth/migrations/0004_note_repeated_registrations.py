"""One more kind of event: somebody registered with an address that has an account."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Let the kind be known."""
    op.execute("""
        ALTER TABLE security_events
            DROP CONSTRAINT security_events_kind_is_known,
            ADD CONSTRAINT security_events_kind_is_known CHECK (kind IN (
                'registered', 'registration_repeated', 'login_succeeded', 'login_failed', 'second_factor_failed',
                'reauthenticated', 'reauthentication_failed', 'session_revoked', 'sessions_revoked', 'password_changed',
                'password_change_failed', 'password_reset_requested', 'password_reset', 'email_verification_requested',
                'email_verified', 'second_factor_enabled', 'second_factor_disabled', 'recovery_code_used',
                'recovery_codes_replaced', 'role_changed', 'account_disabled', 'account_enabled', 'connection_begun',
                'connected', 'connection_failed', 'disconnected'
            ))
    """)
