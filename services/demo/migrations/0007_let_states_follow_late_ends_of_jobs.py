"""Let demo modes and exports follow a job that ended without success after its last write."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

TRANSITIONS = {
    "demo_modes": """
        (generation = 0 AND previous_state IS NULL AND state = 'disabled')
        OR previous_state IS NOT NULL AND previous_state || '>' || state IN (
            'disabled>enabling', 'failed>enabling',
            'enabled>disabling', 'failed>disabling',
            'enabling>enabled',
            'enabling>disabled', 'enabled>disabled', 'disabling>disabled', 'failed>disabled',
            'enabling>failed', 'enabled>failed', 'disabling>failed')""",
    "exports": """
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
