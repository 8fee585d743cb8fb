"""Number the events of the system without a row that all its transitions lock."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"

STATEMENTS = """
CREATE SEQUENCE system_event_sequence;

CREATE FUNCTION number_system_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.sequence := nextval('jobs.system_event_sequence');
    RETURN NEW;
END $$;

-- The lock of the trigger keeps inserts out until the commit: the sequence begins after all numbers that the row in `owners`
-- gave. The previous release still advances that row; the trigger replaces its numbers.
CREATE TRIGGER number_system_event BEFORE INSERT ON job_events FOR EACH ROW
    WHEN (NEW.owner_id = '00000000-0000-0000-0000-000000000000') EXECUTE FUNCTION number_system_event();
SELECT setval('system_event_sequence', coalesce(max(sequence), 0) + 1, false) FROM job_events
    WHERE owner_id = '00000000-0000-0000-0000-000000000000';
"""


def upgrade() -> None:
    """Create the sequence and the trigger; no row is rewritten."""
    op.execute(STATEMENTS)
