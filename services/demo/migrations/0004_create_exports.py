"""Create the tables of exports."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = """
CREATE TABLE exports (
    owner_id uuid PRIMARY KEY,
    state text NOT NULL,
    previous_state text,
    generation bigint NOT NULL CHECK (generation > 0),
    version bigint NOT NULL CHECK (version > 0),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    job_id uuid NOT NULL,
    job_kind text NOT NULL CHECK (job_kind = 'demo.export'),
    job_version bigint NOT NULL DEFAULT 0,
    demo_generation bigint NOT NULL,
    row_count integer NOT NULL,
    rows_written integer NOT NULL DEFAULT 0,
    chunk_count integer NOT NULL DEFAULT 0 CHECK (chunk_count >= 0),
    byte_count bigint NOT NULL DEFAULT 0,
    error_code text,
    error_message text,
    expires_at timestamptz,
    changed_at timestamptz NOT NULL,
    checked_at timestamptz,

    CONSTRAINT exports_state_known CHECK (state IN ('none', 'exporting', 'ready', 'failed')),
    CONSTRAINT exports_transition_known CHECK (previous_state || '>' || state IN (
        'none>exporting', 'ready>exporting', 'failed>exporting',
        'exporting>ready', 'exporting>none', 'exporting>failed', 'ready>none', 'failed>none')),
    CONSTRAINT exports_in_bounds CHECK (
        row_count BETWEEN 0 AND 100000 AND rows_written BETWEEN 0 AND row_count AND byte_count BETWEEN 0 AND 67108864),
    CONSTRAINT exports_ready_is_complete CHECK (state <> 'ready' OR rows_written = row_count AND chunk_count > 0),
    CONSTRAINT exports_error_iff_failed CHECK (
        (error_code IS NOT NULL) = (state = 'failed') AND (error_message IS NOT NULL) = (state = 'failed')),
    CONSTRAINT exports_expires_iff_ready CHECK ((expires_at IS NOT NULL) = (state = 'ready'))
);
CREATE INDEX exports_working ON exports (checked_at NULLS FIRST) WHERE state = 'exporting';
CREATE INDEX exports_kept ON exports (changed_at) WHERE state IN ('ready', 'failed');

CREATE TABLE export_chunks (
    owner_id uuid NOT NULL REFERENCES exports ON DELETE CASCADE,
    generation bigint NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    data bytea NOT NULL CONSTRAINT export_chunks_in_bounds CHECK (octet_length(data) BETWEEN 1 AND 4194304),
    PRIMARY KEY (owner_id, generation, position)
);
-- CSV of text: compressing it again on each write costs more than it saves.
ALTER TABLE export_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(STATEMENTS)
