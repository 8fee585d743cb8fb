"""Create the API tokens of users, and the kinds of their security events."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the table, and extend the constraint beside running transactions."""
    op.execute("""
        CREATE TABLE api_tokens (
            token_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            token_hash bytea NOT NULL
                CONSTRAINT api_tokens_hash_is_unique UNIQUE
                CONSTRAINT api_tokens_are_hashed CHECK (octet_length(token_hash) = 32),
            name text NOT NULL
                CONSTRAINT api_tokens_name_is_short CHECK (char_length(name) BETWEEN 1 AND 100),
            scopes text[] NOT NULL
                CONSTRAINT api_tokens_scopes_are_known CHECK (scopes IN (ARRAY['read'], ARRAY['read', 'write'])),
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            last_used_at timestamptz,
            revoked_at timestamptz,
            CONSTRAINT api_tokens_expire CHECK (
                expires_at > created_at AND expires_at <= created_at + interval '366 days'),
            CONSTRAINT api_tokens_are_used_while_they_exist CHECK (last_used_at >= created_at),
            CONSTRAINT api_tokens_are_revoked_after_creation CHECK (revoked_at >= created_at)
        );
    """)
    op.execute("CREATE INDEX api_tokens_of_user ON api_tokens (user_id, created_at DESC)")
    op.execute("CREATE INDEX api_tokens_by_end ON api_tokens (LEAST(expires_at, revoked_at))")
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
                'connected', 'connection_failed', 'disconnected', 'deletion_requested', 'deletion_cancelled',
                'account_deleted', 'api_token_created', 'api_token_revoked'
            )) NOT VALID
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE security_events VALIDATE CONSTRAINT security_events_kind_is_known")
