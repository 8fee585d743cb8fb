"""Store changes of email addresses, pending and revocable, and their kinds of security events."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

NORMALIZED = "~ '^[!-?A-~]+@[a-z0-9.-]+$'"


def upgrade() -> None:
    """Create the table, and allow the kinds without blocking writes."""
    op.execute(f"""
        CREATE TABLE email_changes (
            change_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            old_email text NOT NULL
                CONSTRAINT email_changes_old_is_normalized CHECK (old_email {NORMALIZED} AND old_email = lower(old_email))
                CONSTRAINT email_changes_old_length CHECK (length(old_email) BETWEEN 3 AND 254),
            new_email text NOT NULL
                CONSTRAINT email_changes_new_is_normalized CHECK (new_email {NORMALIZED} AND new_email = lower(new_email))
                CONSTRAINT email_changes_new_length CHECK (length(new_email) BETWEEN 3 AND 254),
            was_verified boolean NOT NULL,
            requested_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            revocable_until timestamptz NOT NULL,
            confirmed_at timestamptz,
            confirm_hash bytea
                CONSTRAINT email_changes_confirm_key UNIQUE
                CONSTRAINT email_changes_confirm_is_hashed CHECK (octet_length(confirm_hash) = 32),
            revoke_hash bytea
                CONSTRAINT email_changes_revoke_key UNIQUE
                CONSTRAINT email_changes_revoke_is_hashed CHECK (octet_length(revoke_hash) = 32),
            CONSTRAINT email_changes_are_changes CHECK (old_email <> new_email),
            CONSTRAINT email_changes_times_are_in_order CHECK (
                requested_at < expires_at AND expires_at <= revocable_until
            ),
            CONSTRAINT email_changes_confirmed_in_time CHECK (
                confirmed_at >= requested_at AND confirmed_at <= expires_at
            ),
            CONSTRAINT email_changes_confirmed_once CHECK (confirmed_at IS NULL OR confirm_hash IS NULL)
        );
    """)
    op.execute("CREATE UNIQUE INDEX email_changes_one_pending ON email_changes (user_id) WHERE confirmed_at IS NULL")
    op.execute("CREATE INDEX email_changes_of_user ON email_changes (user_id, requested_at)")
    op.execute("CREATE INDEX email_changes_by_end ON email_changes (revocable_until)")
    op.execute("""
        ALTER TABLE security_events
            DROP CONSTRAINT security_events_kind_is_known,
            ADD CONSTRAINT security_events_kind_is_known CHECK (kind IN (
                'registered', 'registration_repeated', 'login_succeeded', 'login_failed', 'second_factor_failed',
                'reauthenticated', 'reauthentication_failed', 'session_revoked', 'sessions_revoked', 'password_changed',
                'password_change_failed', 'password_reset_requested', 'password_reset', 'email_verification_requested',
                'email_verified', 'email_change_requested', 'email_change_cancelled', 'email_changed',
                'email_change_revoked', 'second_factor_enabled', 'second_factor_disabled', 'recovery_code_used',
                'recovery_codes_replaced', 'passkey_added', 'passkey_removed', 'passkey_used', 'passkey_failed',
                'passkey_counter_regressed', 'role_changed', 'account_disabled', 'account_enabled', 'connection_begun',
                'connected', 'connection_failed', 'disconnected'
            )) NOT VALID;
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE security_events VALIDATE CONSTRAINT security_events_kind_is_known")
