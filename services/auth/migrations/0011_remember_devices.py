"""Remember the devices from which each user has signed in."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE devices (
            device_hash bytea PRIMARY KEY
                CONSTRAINT devices_are_hashed CHECK (octet_length(device_hash) = 32),
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            first_seen_at timestamptz NOT NULL DEFAULT now(),
            last_seen_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT devices_times_are_in_order CHECK (first_seen_at <= last_seen_at)
        );
    """)
    op.execute("CREATE INDEX devices_of_user ON devices (user_id, last_seen_at DESC)")
    op.execute("CREATE INDEX devices_by_age ON devices (last_seen_at)")
