"""Second factors, links by mail, disabled accounts, security events; what sessions know of how they began."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Each new column has a default: the release before this one goes on inserting rows.
    op.execute("""
        ALTER TABLE users
            ADD COLUMN email_verified_at timestamptz,
            ADD COLUMN password_changed_at timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN disabled_at timestamptz
    """)
    op.execute("UPDATE users SET password_changed_at = created_at")
    # Operators created admins by name.
    op.execute("UPDATE users SET email_verified_at = created_at WHERE role = 'admin'")
    op.execute("CREATE INDEX users_by_age ON users (created_at DESC, user_id DESC)")
    op.execute("CREATE INDEX users_by_email ON users (email text_pattern_ops)")
    op.execute("""
        ALTER TABLE sessions
            ADD COLUMN is_remembered boolean NOT NULL DEFAULT true,
            ADD COLUMN authenticated_at timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN client_name text NOT NULL DEFAULT ''
                CONSTRAINT sessions_client_name_length CHECK (length(client_name) <= 100),
            DROP CONSTRAINT sessions_revoke_reason_is_known,
            ADD CONSTRAINT sessions_revoke_reason_is_known CHECK (revoke_reason IN (
                'logout', 'revoked', 'revoked_all', 'password_changed', 'password_reset', 'role_changed', 'account_disabled',
                'revoked_by_admin'
            ))
    """)
    op.execute("UPDATE sessions SET authenticated_at = created_at")
    op.execute("""
        ALTER TABLE sessions
            ADD CONSTRAINT sessions_authenticated_within CHECK (authenticated_at >= created_at)
    """)
    op.execute("""
        CREATE TABLE second_factors (
            user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
            sealed_secret bytea NOT NULL
                CONSTRAINT second_factors_secret_is_sealed CHECK (octet_length(sealed_secret) BETWEEN 40 AND 200),
            confirm_before timestamptz,
            enabled_at timestamptz,
            last_step bigint,
            CONSTRAINT second_factors_wait_or_count CHECK ((confirm_before IS NULL) = (enabled_at IS NOT NULL)),
            CONSTRAINT second_factors_were_used CHECK ((enabled_at IS NULL) = (last_step IS NULL))
        )
    """)
    op.execute("""
        CREATE TABLE recovery_codes (
            user_id uuid NOT NULL REFERENCES second_factors ON DELETE CASCADE,
            code_hash bytea NOT NULL
                CONSTRAINT recovery_codes_are_hashed CHECK (octet_length(code_hash) = 32),
            used_at timestamptz,
            PRIMARY KEY (user_id, code_hash)
        )
    """)
    op.execute("""
        CREATE TABLE login_challenges (
            challenge_hash bytea PRIMARY KEY
                CONSTRAINT login_challenges_are_hashed CHECK (octet_length(challenge_hash) = 32),
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            is_remembered boolean NOT NULL,
            tries integer NOT NULL DEFAULT 0
                CONSTRAINT login_challenges_tries_are_few CHECK (tries BETWEEN 0 AND 5),
            expires_at timestamptz NOT NULL,
            used_at timestamptz
        )
    """)
    op.execute("CREATE INDEX login_challenges_of_user ON login_challenges (user_id)")
    op.execute("CREATE INDEX login_challenges_by_end ON login_challenges (expires_at)")
    op.execute("""
        CREATE TABLE mail_tokens (
            token_hash bytea PRIMARY KEY
                CONSTRAINT mail_tokens_are_hashed CHECK (octet_length(token_hash) = 32),
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            purpose text NOT NULL
                CONSTRAINT mail_tokens_purpose_is_known CHECK (purpose IN ('verify', 'reset')),
            expires_at timestamptz NOT NULL,
            used_at timestamptz
        )
    """)
    op.execute("CREATE UNIQUE INDEX mail_tokens_one_counts ON mail_tokens (user_id, purpose) WHERE used_at IS NULL")
    op.execute("CREATE INDEX mail_tokens_by_end ON mail_tokens (expires_at)")
    # No references: what happened stays true when the account is gone.
    op.execute("""
        CREATE TABLE security_events (
            event_id uuid PRIMARY KEY,
            kind text NOT NULL
                CONSTRAINT security_events_kind_is_known CHECK (kind IN (
                    'registered', 'login_succeeded', 'login_failed', 'second_factor_failed', 'reauthenticated',
                    'reauthentication_failed', 'session_revoked', 'sessions_revoked', 'password_changed',
                    'password_change_failed', 'password_reset_requested', 'password_reset', 'email_verification_requested',
                    'email_verified', 'second_factor_enabled', 'second_factor_disabled', 'recovery_code_used',
                    'recovery_codes_replaced', 'role_changed', 'account_disabled', 'account_enabled', 'connection_begun',
                    'connected', 'connection_failed', 'disconnected'
                )),
            user_id uuid,
            actor_id uuid,
            session_id uuid,
            ip_address text NOT NULL
                CONSTRAINT security_events_ip_address_length CHECK (length(ip_address) <= 45),
            client_name text NOT NULL
                CONSTRAINT security_events_client_name_length CHECK (length(client_name) <= 100),
            details jsonb NOT NULL
                CONSTRAINT security_events_details_are_few CHECK (
                    jsonb_typeof(details) = 'object' AND length(details::text) <= 2000
                ),
            occurred_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX security_events_of_user ON security_events (user_id, event_id DESC)")
    op.execute("CREATE INDEX security_events_by_age ON security_events (occurred_at)")
    op.execute("""
        CREATE FUNCTION keep_security_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND OLD.occurred_at < now() - interval '365 days' THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'security events are kept as they are for a year' USING ERRCODE = 'check_violation',
                CONSTRAINT = 'security_events_are_kept';
        END
        $$
    """)
    op.execute("""
        CREATE TRIGGER security_events_are_kept BEFORE UPDATE OR DELETE ON security_events
            FOR EACH ROW EXECUTE FUNCTION keep_security_event()
    """)
