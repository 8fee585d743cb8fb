"""Users, sessions, login failures and the outbox."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE users (
            user_id uuid PRIMARY KEY,
            email text NOT NULL
                CONSTRAINT users_email_key UNIQUE
                CONSTRAINT users_email_is_normalized CHECK (email ~ '^[!-?A-~]+@[a-z0-9.-]+$' AND email = lower(email))
                CONSTRAINT users_email_length CHECK (length(email) BETWEEN 3 AND 254),
            name text NOT NULL
                CONSTRAINT users_name_length CHECK (length(name) <= 100),
            role text NOT NULL
                CONSTRAINT users_role_is_known CHECK (role IN ('user', 'admin')),
            password_hash text NOT NULL
                CONSTRAINT users_password_is_hashed CHECK (password_hash LIKE '$argon2id$%'),
            created_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE sessions (
            session_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            token_hash bytea NOT NULL
                CONSTRAINT sessions_token_hash_key UNIQUE
                CONSTRAINT sessions_token_is_hashed CHECK (octet_length(token_hash) = 32),
            user_agent text NOT NULL
                CONSTRAINT sessions_user_agent_length CHECK (length(user_agent) <= 400),
            ip_address text NOT NULL
                CONSTRAINT sessions_ip_address_length CHECK (length(ip_address) <= 45),
            created_at timestamptz NOT NULL DEFAULT now(),
            last_seen_at timestamptz NOT NULL DEFAULT now(),
            idle_expires_at timestamptz NOT NULL,
            absolute_expires_at timestamptz NOT NULL,
            revoked_at timestamptz,
            revoke_reason text
                CONSTRAINT sessions_revoke_reason_is_known CHECK (revoke_reason IN ('logout', 'revoked', 'revoked_all')),
            CONSTRAINT sessions_times_are_in_order CHECK (
                created_at <= last_seen_at AND last_seen_at < idle_expires_at AND idle_expires_at <= absolute_expires_at
            ),
            CONSTRAINT sessions_revoked_for_a_reason CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL)),
            CONSTRAINT sessions_revoked_after_start CHECK (revoked_at >= created_at)
        )
    """)
    op.execute("CREATE INDEX sessions_of_user ON sessions (user_id, created_at) WHERE revoked_at IS NULL")
    op.execute("CREATE INDEX sessions_by_end ON sessions (idle_expires_at)")
    op.execute("""
        CREATE TABLE login_failures (
            key text PRIMARY KEY
                CONSTRAINT login_failures_key_length CHECK (length(key) <= 400),
            failures integer NOT NULL
                CONSTRAINT login_failures_are_counted CHECK (failures > 0),
            window_ends_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX login_failures_by_end ON login_failures (window_ends_at)")
    op.execute("""
        CREATE TABLE outbox (
            message_id uuid PRIMARY KEY,
            subject text NOT NULL,
            payload bytea NOT NULL,
            send_after timestamptz NOT NULL DEFAULT now()
        )
    """)
