"""Store the JSON Schema of a kind's payload, and schedules that operators made."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = """
ALTER TABLE kinds
    ADD COLUMN payload_schema text NOT NULL DEFAULT ''
    CONSTRAINT payload_schema_is_bounded CHECK (octet_length(payload_schema) <= 16384);
ALTER TABLE schedules
    ALTER COLUMN declared_at DROP NOT NULL,
    ADD CONSTRAINT operators_have_names_of_their_own CHECK ((declared_at IS NULL) = starts_with(name, 'operator.')) NOT VALID;
"""


def upgrade() -> None:
    """Add the column and let operators own schedules; a constant default rewrites no row, and both tables are small."""
    op.execute(STATEMENTS)
