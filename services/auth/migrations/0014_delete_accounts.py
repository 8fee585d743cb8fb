"""Let accounts be deleted after a grace period, and security events with them."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the columns, extend the constraints and the trigger, and build the indexes beside running transactions."""
    op.execute("""
        ALTER TABLE users
            ADD COLUMN deletion_id uuid,
            ADD COLUMN deletion_due_at timestamptz,
            ADD COLUMN erasure_started_at timestamptz
    """)
    op.execute("""
        ALTER TABLE users
            ADD CONSTRAINT users_deletion_is_dated CHECK ((deletion_id IS NULL) = (deletion_due_at IS NULL)) NOT VALID,
            ADD CONSTRAINT users_erased_are_closed CHECK (
                erasure_started_at IS NULL OR deletion_id IS NOT NULL AND disabled_at IS NOT NULL) NOT VALID,
            ADD CONSTRAINT users_admins_are_not_deleted CHECK (deletion_id IS NULL OR role = 'user') NOT VALID
    """)
    op.execute("""
        ALTER TABLE mail_tokens
            DROP CONSTRAINT mail_tokens_purpose_is_known,
            ADD CONSTRAINT mail_tokens_purpose_is_known CHECK (purpose IN ('verify', 'reset', 'deletion')) NOT VALID
    """)
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
                'account_deleted'
            )) NOT VALID
    """)
    # Events of an account go with it. Its id goes from events about others, which stay as they are otherwise.
    op.execute("""
        CREATE OR REPLACE FUNCTION keep_security_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND (OLD.occurred_at < now() - interval '365 days'
                OR OLD.occurred_at < now() - interval '30 days' AND OLD.actor_id IS NULL AND OLD.kind IN (
                    'login_failed', 'second_factor_failed', 'passkey_failed', 'passkey_counter_regressed',
                    'password_reset_requested', 'registration_repeated')
                OR EXISTS (SELECT FROM auth.users u WHERE u.erasure_started_at IS NOT NULL
                    AND (u.user_id = OLD.user_id OR OLD.user_id IS NULL AND u.email = OLD.details ->> 'email'))) THEN
                RETURN OLD;
            END IF;
            IF TG_OP = 'UPDATE' AND OLD.user_id IS DISTINCT FROM OLD.actor_id
                AND NEW.actor_id IS NULL AND NEW.session_id IS NULL
                AND (NEW.event_id, NEW.kind, NEW.ip_address, NEW.client_name, NEW.details, NEW.occurred_at)
                    = (OLD.event_id, OLD.kind, OLD.ip_address, OLD.client_name, OLD.details, OLD.occurred_at)
                AND NEW.user_id IS NOT DISTINCT FROM OLD.user_id
                AND EXISTS (SELECT FROM auth.users u
                    WHERE u.user_id = OLD.actor_id AND u.erasure_started_at IS NOT NULL) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'security events are kept as they are for a year' USING ERRCODE = 'check_violation',
                CONSTRAINT = 'security_events_are_kept';
        END
        $$
    """)
    with op.get_context().autocommit_block():
        for name in ("users_deletion_is_dated", "users_erased_are_closed", "users_admins_are_not_deleted"):
            op.execute(f"ALTER TABLE users VALIDATE CONSTRAINT {name}")
        op.execute("ALTER TABLE mail_tokens VALIDATE CONSTRAINT mail_tokens_purpose_is_known")
        op.execute("ALTER TABLE security_events VALIDATE CONSTRAINT security_events_kind_is_known")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS users_deletions")
        op.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY users_deletions ON users (deletion_id) WHERE deletion_id IS NOT NULL"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS security_events_of_actor")
        op.execute(
            "CREATE INDEX CONCURRENTLY security_events_of_actor ON security_events (actor_id)"
            " WHERE actor_id IS DISTINCT FROM user_id"
        )
