"""Create the tables of the demo service."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE demo_modes (
    owner_id uuid PRIMARY KEY,
    state text NOT NULL DEFAULT 'disabled',
    previous_state text,
    generation bigint NOT NULL DEFAULT 0 CHECK (generation >= 0),
    version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    job_id uuid,
    job_kind text,
    job_version bigint NOT NULL DEFAULT 0,
    profile_type text,
    niche text,
    content_count integer,
    interaction_count integer,
    seed bigint,
    seeded_at timestamptz,
    content_written integer NOT NULL DEFAULT 0,
    interactions_written integer NOT NULL DEFAULT 0,
    content_removed integer NOT NULL DEFAULT 0,
    interactions_removed integer NOT NULL DEFAULT 0,
    error_code text,
    error_message text,
    enabled_at timestamptz,
    changed_at timestamptz,
    checked_at timestamptz,

    CONSTRAINT demo_modes_state_known CHECK (
        state IN ('disabled', 'enabling', 'enabled', 'disabling', 'failed')),
    -- Every change of the state notes where it came from, so that the database itself refuses an illegal one.
    CONSTRAINT demo_modes_transition_known CHECK (
        (generation = 0 AND previous_state IS NULL AND state = 'disabled')
        OR previous_state IS NOT NULL AND previous_state || '>' || state IN (
            'disabled>enabling', 'failed>enabling',
            'enabled>disabling', 'failed>disabling',
            'enabling>enabled',
            'enabling>disabled', 'disabling>disabled', 'failed>disabled',
            'enabling>failed', 'disabling>failed')),
    CONSTRAINT demo_modes_job_whole CHECK (
        (job_id IS NULL) = (generation = 0) AND (job_kind IS NULL) = (job_id IS NULL)),
    CONSTRAINT demo_modes_job_fits_state CHECK (
        CASE state
            WHEN 'enabling' THEN job_kind = 'demo.enable'
            WHEN 'enabled' THEN job_kind = 'demo.enable'
            WHEN 'disabling' THEN job_kind = 'demo.disable'
            ELSE job_kind IN ('demo.enable', 'demo.disable') OR generation = 0
        END),
    CONSTRAINT demo_modes_wish_whole CHECK (
        generation = 0 OR num_nulls(profile_type, niche, content_count, interaction_count, seed, seeded_at) = 0),
    CONSTRAINT demo_modes_profile_resolved CHECK (profile_type <> 'auto' AND niche <> 'auto'),
    CONSTRAINT demo_modes_wish_in_bounds CHECK (
        content_count BETWEEN 1 AND 1000 AND interaction_count BETWEEN 0 AND 100000),
    CONSTRAINT demo_modes_written_in_bounds CHECK (
        content_written BETWEEN 0 AND coalesce(content_count, 0)
        AND interactions_written BETWEEN 0 AND coalesce(interaction_count, 0)),
    CONSTRAINT demo_modes_removed_in_bounds CHECK (
        content_removed BETWEEN 0 AND content_written AND interactions_removed BETWEEN 0 AND interactions_written),
    CONSTRAINT demo_modes_enabled_is_complete CHECK (
        state <> 'enabled' OR (content_written = content_count AND interactions_written = interaction_count
                               AND content_removed = 0 AND interactions_removed = 0)),
    CONSTRAINT demo_modes_error_iff_failed CHECK (
        (error_code IS NOT NULL) = (state = 'failed') AND (error_message IS NOT NULL) = (state = 'failed')),
    CONSTRAINT demo_modes_enabled_at_iff_enabled CHECK ((enabled_at IS NOT NULL) = (state = 'enabled')),
    CONSTRAINT demo_modes_changed_at_iff_ever_changed CHECK ((changed_at IS NULL) = (generation = 0))
);
CREATE INDEX demo_modes_transitional ON demo_modes (checked_at NULLS FIRST) WHERE state IN ('enabling', 'disabling');

CREATE TABLE content (
    owner_id uuid NOT NULL,
    generation bigint NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    platform text NOT NULL,
    title text NOT NULL,
    published_at timestamptz NOT NULL,
    views bigint NOT NULL CHECK (views >= 0),
    likes bigint NOT NULL CHECK (likes >= 0),
    PRIMARY KEY (owner_id, generation, position)
);

CREATE TABLE interactions (
    owner_id uuid NOT NULL,
    generation bigint NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    content_position integer NOT NULL CHECK (content_position >= 0),
    kind text NOT NULL CONSTRAINT interactions_kind_known CHECK (kind IN ('comment', 'review', 'mention')),
    platform text NOT NULL,
    author_name text NOT NULL,
    author_handle text NOT NULL,
    text text NOT NULL,
    rating smallint CONSTRAINT interactions_rating_in_bounds CHECK (rating BETWEEN 1 AND 5),
    sentiment text NOT NULL
        CONSTRAINT interactions_sentiment_known CHECK (sentiment IN ('positive', 'neutral', 'negative')),
    occurred_at timestamptz NOT NULL,
    replied boolean NOT NULL,
    reply_text text,
    likes integer NOT NULL CHECK (likes >= 0),
    PRIMARY KEY (owner_id, generation, position),
    CONSTRAINT interactions_rated_iff_review CHECK ((rating IS NOT NULL) = (kind = 'review')),
    CONSTRAINT interactions_reply_iff_replied CHECK ((reply_text IS NOT NULL) = replied)
);
-- Few and narrow: each one slows the writing of 100,000 rows. The other filters are met by walking the first.
CREATE INDEX interactions_newest ON interactions (owner_id, generation, occurred_at, position);
CREATE INDEX interactions_of_content ON interactions (owner_id, generation, content_position);

CREATE TABLE idempotency_keys (
    owner_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL,
    job_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE outbox (
    message_id uuid PRIMARY KEY,
    subject text NOT NULL,
    payload bytea NOT NULL,
    send_after timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE inbox (
    consumer text NOT NULL,
    message_id text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_by_age ON inbox (received_at);
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(STATEMENTS)
