"""Create the tables of data exports, and the kinds of their security events."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"

STATEMENTS = """
CREATE TABLE data_exports (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    state text NOT NULL,
    previous_state text,
    generation bigint NOT NULL CHECK (generation > 0),
    version bigint NOT NULL CHECK (version > 0),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    job_id uuid NOT NULL,
    job_kind text NOT NULL CHECK (job_kind = 'auth.export-data'),
    job_version bigint NOT NULL DEFAULT 0,
    chunk_count integer NOT NULL DEFAULT 0 CHECK (chunk_count >= 0),
    byte_count bigint NOT NULL DEFAULT 0 CHECK (byte_count BETWEEN 0 AND 67108864),
    error_code text,
    error_message text,
    expires_at timestamptz,
    changed_at timestamptz NOT NULL,
    checked_at timestamptz,

    CONSTRAINT data_exports_state_known CHECK (state IN ('none', 'exporting', 'ready', 'failed')),
    CONSTRAINT data_exports_transition_known CHECK (previous_state || '>' || state IN (
        'none>exporting', 'ready>exporting', 'failed>exporting',
        'exporting>ready', 'exporting>none', 'exporting>failed', 'ready>none', 'failed>none')),
    CONSTRAINT data_exports_ready_is_complete CHECK (state <> 'ready' OR chunk_count > 0),
    CONSTRAINT data_exports_error_iff_failed CHECK (
        (error_code IS NOT NULL) = (state = 'failed') AND (error_message IS NOT NULL) = (state = 'failed')),
    CONSTRAINT data_exports_expires_iff_ready CHECK ((expires_at IS NOT NULL) = (state = 'ready'))
);
CREATE INDEX data_exports_working ON data_exports (checked_at NULLS FIRST) WHERE state = 'exporting';
CREATE INDEX data_exports_kept ON data_exports (changed_at) WHERE state IN ('ready', 'failed');

CREATE TABLE data_export_chunks (
    user_id uuid NOT NULL REFERENCES data_exports ON DELETE CASCADE,
    generation bigint NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    data bytea NOT NULL CONSTRAINT data_export_chunks_in_bounds CHECK (octet_length(data) BETWEEN 1 AND 1048576),
    PRIMARY KEY (user_id, generation, position)
);
-- Compressed already.
ALTER TABLE data_export_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
"""


def upgrade() -> None:
    """Create the tables, and extend the constraint beside running transactions."""
    op.execute(STATEMENTS)
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
                'account_deleted', 'api_token_created', 'api_token_revoked', 'data_export_requested',
                'data_export_downloaded'
            )) NOT VALID
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE security_events VALIDATE CONSTRAINT security_events_kind_is_known")
