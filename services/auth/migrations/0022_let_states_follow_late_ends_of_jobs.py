"""Let connections and data exports follow a job that ended without success after its last write."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"

TRANSITIONS = {
    "connections": """
        previous_state || '>' || state IN (
            'disconnected>connecting', 'failed>connecting', 'connecting>connecting',
            'connecting>connected', 'connected>connected',
            'connecting>disconnected', 'connected>disconnected', 'disconnecting>disconnected',
            'connecting>disconnecting', 'connected>disconnecting', 'failed>disconnecting',
            'connecting>failed', 'connected>failed')""",
    "data_exports": """
        previous_state || '>' || state IN (
            'none>exporting', 'ready>exporting', 'failed>exporting',
            'exporting>ready', 'exporting>none', 'exporting>failed', 'ready>none', 'ready>failed', 'failed>none')""",
}


def upgrade() -> None:
    """Widen the constraints, and check the existing rows without blocking writes."""
    # Repeatable. Each statement is a transaction: none waits for the lock of one table while it holds that of another.
    with op.get_context().autocommit_block():
        for table, transitions in TRANSITIONS.items():
            op.execute(f"""
                ALTER TABLE {table}
                    DROP CONSTRAINT IF EXISTS {table}_transition_known,
                    ADD CONSTRAINT {table}_transition_known CHECK ({transitions}) NOT VALID
            """)
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_transition_known")
