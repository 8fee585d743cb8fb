"""Tokens that wait to be given back to their platform; when each platform was last offered; when connections were last read."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = """
-- Without a reference to the account: what the platform honours is given back even if the account is gone.
CREATE TABLE connection_leftovers (
    user_id uuid NOT NULL,
    platform text NOT NULL,
    generation bigint NOT NULL,
    sealed_access_token bytea NOT NULL,
    sealed_refresh_token bytea,
    subject text NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, platform, generation)
);
CREATE INDEX connection_leftovers_by_age ON connection_leftovers (set_aside_at);

CREATE TABLE connection_platforms (
    platform text PRIMARY KEY,
    offered_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX connections_to_sync ON connections (synced_at) WHERE state = 'connected';
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(STATEMENTS)
