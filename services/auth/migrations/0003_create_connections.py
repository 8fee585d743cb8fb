"""Platform connections, what their callbacks must match, their secrets and their items."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = """
CREATE TABLE connections (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    platform text NOT NULL CONSTRAINT connections_platform_length CHECK (length(platform) BETWEEN 1 AND 32),
    state text NOT NULL,
    previous_state text NOT NULL,
    generation bigint NOT NULL CHECK (generation > 0),
    version bigint NOT NULL CHECK (version > 0),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    job_id uuid,
    job_kind text,
    job_version bigint NOT NULL DEFAULT 0,
    external_id text CONSTRAINT connections_external_id_length CHECK (length(external_id) BETWEEN 1 AND 255),
    account_name text CHECK (length(account_name) <= 200),
    account_url text CHECK (account_url ~ '^(https://.*)?$' AND length(account_url) <= 1000),
    account_picture_url text
        CHECK (account_picture_url ~ '^(https://.*)?$' AND length(account_picture_url) <= 1000),
    error_code text,
    error_message text,
    item_count integer NOT NULL DEFAULT 0 CHECK (item_count >= 0),
    connected_at timestamptz,
    synced_at timestamptz,
    access_expires_at timestamptz,
    refresh_at timestamptz,
    changed_at timestamptz NOT NULL DEFAULT now(),
    checked_at timestamptz,
    PRIMARY KEY (user_id, platform),

    CONSTRAINT connections_state_known CHECK (
        state IN ('disconnected', 'connecting', 'connected', 'disconnecting', 'failed')),
    -- Every change of the state notes where it came from, so that the database itself refuses an illegal one.
    CONSTRAINT connections_transition_known CHECK (
        previous_state || '>' || state IN (
            'disconnected>connecting', 'failed>connecting', 'connecting>connecting',
            'connecting>connected', 'connected>connected',
            'connecting>disconnected', 'disconnecting>disconnected',
            'connecting>disconnecting', 'connected>disconnecting', 'failed>disconnecting',
            'connecting>failed', 'connected>failed')),
    CONSTRAINT connections_job_whole CHECK ((job_id IS NULL) = (job_kind IS NULL)),
    CONSTRAINT connections_job_fits_state CHECK (
        CASE state
            WHEN 'connecting' THEN coalesce(job_kind, 'auth.connect') = 'auth.connect'
            WHEN 'connected' THEN job_kind IS NOT NULL AND job_kind = 'auth.connect'
            WHEN 'disconnecting' THEN job_kind IS NOT NULL AND job_kind = 'auth.disconnect'
            WHEN 'failed' THEN coalesce(job_kind, 'auth.connect') = 'auth.connect'
            ELSE coalesce(job_kind, 'auth.connect') IN ('auth.connect', 'auth.disconnect')
        END),
    CONSTRAINT connections_account_whole CHECK (
        num_nulls(external_id, account_name, account_url, account_picture_url) IN (0, 4)),
    CONSTRAINT connections_connected_is_known CHECK (state <> 'connected' OR external_id IS NOT NULL),
    CONSTRAINT connections_error_iff_failed CHECK (
        (error_code IS NOT NULL) = (state = 'failed') AND (error_message IS NOT NULL) = (state = 'failed')),
    CONSTRAINT connections_error_known CHECK (error_code IN (
        'consent_expired', 'platform_unavailable', 'platform_refused', 'reauthorization_required',
        'account_already_connected', 'permissions_missing', 'job_rejected', 'internal')),
    CONSTRAINT connections_connected_at_iff_connected CHECK ((connected_at IS NOT NULL) = (state = 'connected')),
    CONSTRAINT connections_access_only_if_connected CHECK (
        state = 'connected' OR num_nonnulls(access_expires_at, refresh_at) = 0)
);
-- An account at a platform belongs to one user here. While access to it is being taken back too: revoking ends all access
-- that the account gave us, so nobody else may get any meanwhile.
CREATE UNIQUE INDEX connections_account_key ON connections (platform, external_id)
    WHERE state = 'connected' OR (state = 'disconnecting' AND previous_state = 'connected');
CREATE INDEX connections_moving ON connections (checked_at NULLS FIRST)
    WHERE state = 'disconnecting' OR (state = 'connecting' AND job_id IS NOT NULL);
CREATE INDEX connections_away ON connections (changed_at) WHERE state = 'connecting' AND job_id IS NULL;
CREATE INDEX connections_to_refresh ON connections (refresh_at) WHERE refresh_at IS NOT NULL;

CREATE TABLE connection_authorizations (
    state_hash bytea PRIMARY KEY
        CONSTRAINT connection_authorizations_state_is_hashed CHECK (octet_length(state_hash) = 32),
    user_id uuid NOT NULL,
    platform text NOT NULL,
    session_id uuid NOT NULL,
    generation bigint NOT NULL,
    sealed_verifier bytea NOT NULL,
    sealed_nonce bytea NOT NULL,
    issuer text NOT NULL,
    is_issuer_required boolean NOT NULL,
    return_to text NOT NULL
        CONSTRAINT connection_authorizations_return_to_is_ours CHECK (
            return_to ~ '^/([^/\\\\].*)?$' AND length(return_to) <= 500),
    expires_at timestamptz NOT NULL,
    -- A new one replaces the one before.
    CONSTRAINT connection_authorizations_key UNIQUE (user_id, platform),
    FOREIGN KEY (user_id, platform) REFERENCES connections ON DELETE CASCADE
);
CREATE INDEX connection_authorizations_by_end ON connection_authorizations (expires_at);

CREATE TABLE connection_secrets (
    user_id uuid NOT NULL,
    platform text NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL DEFAULT 1 CHECK (revision > 0),
    sealed_code bytea,
    sealed_verifier bytea,
    sealed_nonce bytea,
    code_sent_at timestamptz,
    sealed_access_token bytea,
    sealed_refresh_token bytea,
    subject text NOT NULL DEFAULT '',
    issued_at timestamptz,
    expires_at timestamptz,
    PRIMARY KEY (user_id, platform),
    FOREIGN KEY (user_id, platform) REFERENCES connections ON DELETE CASCADE,
    -- A code is used once: when there are tokens it is gone.
    CONSTRAINT connection_secrets_code_or_tokens CHECK (
        num_nulls(sealed_code, sealed_verifier, sealed_nonce) = CASE WHEN sealed_access_token IS NULL THEN 0 ELSE 3 END),
    CONSTRAINT connection_secrets_code_sent CHECK (code_sent_at IS NULL OR sealed_code IS NOT NULL),
    CONSTRAINT connection_secrets_tokens_issued CHECK (
        (issued_at IS NULL) = (sealed_access_token IS NULL)
        AND (sealed_access_token IS NOT NULL OR num_nonnulls(sealed_refresh_token, expires_at) = 0))
);

CREATE TABLE connection_items (
    user_id uuid NOT NULL,
    platform text NOT NULL,
    external_id text NOT NULL CHECK (length(external_id) BETWEEN 1 AND 255),
    title text NOT NULL CHECK (length(title) <= 500),
    url text NOT NULL CHECK (url ~ '^(https://.*)?$' AND length(url) <= 1000),
    published_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, platform, external_id),
    FOREIGN KEY (user_id, platform) REFERENCES connections ON DELETE CASCADE
);
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(STATEMENTS)
