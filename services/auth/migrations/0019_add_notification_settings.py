"""Store what each user is notified of."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the columns with constant defaults, and check the existing rows without blocking writes."""
    op.execute("""
        ALTER TABLE users
            ADD COLUMN job_emails text NOT NULL DEFAULT 'all',
            ADD COLUMN page_notices boolean NOT NULL DEFAULT true;
    """)
    op.execute("""
        ALTER TABLE users
            ADD CONSTRAINT users_job_emails_is_known CHECK (job_emails IN ('none', 'failed', 'all')) NOT VALID
    """)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_job_emails_is_known")
