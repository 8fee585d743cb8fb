"""Let events that strangers cause be deleted after a month."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

KINDS = (
    "('login_failed', 'second_factor_failed', 'passkey_failed', 'passkey_counter_regressed',"
    " 'password_reset_requested', 'registration_repeated')"
)


def upgrade() -> None:
    """Replace the trigger's function, and build the index beside running transactions."""
    op.execute(f"""
        CREATE OR REPLACE FUNCTION keep_security_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND (OLD.occurred_at < now() - interval '365 days'
                OR OLD.occurred_at < now() - interval '30 days' AND OLD.actor_id IS NULL AND OLD.kind IN {KINDS}) THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'security events are kept as they are for a year' USING ERRCODE = 'check_violation',
                CONSTRAINT = 'security_events_are_kept';
        END
        $$
    """)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS security_events_attempts")
        op.execute(
            "CREATE INDEX CONCURRENTLY security_events_attempts ON security_events (occurred_at)"
            f" WHERE actor_id IS NULL AND kind IN {KINDS}"
        )
