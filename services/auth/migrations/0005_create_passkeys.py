"""Passkeys, the challenges that authenticators sign, and what happens with them as kinds of events."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables, and let the kinds be known."""
    op.execute("""
        CREATE TABLE passkeys (
            passkey_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            credential_id bytea NOT NULL
                CONSTRAINT passkeys_credential_id_key UNIQUE
                CONSTRAINT passkeys_credential_id_length CHECK (octet_length(credential_id) BETWEEN 16 AND 1023),
            public_key bytea NOT NULL
                CONSTRAINT passkeys_public_key_length CHECK (octet_length(public_key) BETWEEN 32 AND 2048),
            sign_count bigint NOT NULL
                CONSTRAINT passkeys_sign_count_has_32_bits CHECK (sign_count BETWEEN 0 AND 4294967295),
            transports text[] NOT NULL
                CONSTRAINT passkeys_transports_are_few CHECK (cardinality(transports) <= 10),
            aaguid uuid NOT NULL,
            is_syncable boolean NOT NULL,
            is_synced boolean NOT NULL,
            name text NOT NULL
                CONSTRAINT passkeys_name_length CHECK (length(name) BETWEEN 1 AND 100),
            created_at timestamptz NOT NULL DEFAULT now(),
            last_used_at timestamptz,
            CONSTRAINT passkeys_synced_if_syncable CHECK (is_syncable OR NOT is_synced)
        )
    """)
    op.execute("CREATE INDEX passkeys_of_user ON passkeys (user_id, passkey_id)")
    op.execute("""
        CREATE TABLE passkey_challenges (
            challenge bytea PRIMARY KEY
                CONSTRAINT passkey_challenges_are_hashes CHECK (octet_length(challenge) = 32),
            purpose text NOT NULL
                CONSTRAINT passkey_challenges_purpose_is_known CHECK (purpose IN ('add', 'login', 'reauthenticate')),
            session_id uuid REFERENCES sessions ON DELETE CASCADE,
            expires_at timestamptz NOT NULL,
            CONSTRAINT passkey_challenges_are_of_sessions CHECK ((purpose = 'login') = (session_id IS NULL)),
            CONSTRAINT passkey_challenges_one_of_session UNIQUE (session_id, purpose)
        )
    """)
    op.execute("CREATE INDEX passkey_challenges_by_end ON passkey_challenges (expires_at)")
    op.execute("""
        ALTER TABLE security_events
            DROP CONSTRAINT security_events_kind_is_known,
            ADD CONSTRAINT security_events_kind_is_known CHECK (kind IN (
                'registered', 'registration_repeated', 'login_succeeded', 'login_failed', 'second_factor_failed',
                'reauthenticated', 'reauthentication_failed', 'session_revoked', 'sessions_revoked', 'password_changed',
                'password_change_failed', 'password_reset_requested', 'password_reset', 'email_verification_requested',
                'email_verified', 'second_factor_enabled', 'second_factor_disabled', 'recovery_code_used',
                'recovery_codes_replaced', 'passkey_added', 'passkey_removed', 'passkey_used', 'passkey_failed',
                'passkey_counter_regressed', 'role_changed', 'account_disabled', 'account_enabled', 'connection_begun',
                'connected', 'connection_failed', 'disconnected'
            ))
    """)
