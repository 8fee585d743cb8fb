"""Invariants of the databases once all work is done. Read as the superuser."""

from __future__ import annotations

from typing import Any, LiteralString, Protocol

from tests.acceptance import waiting


class Database(Protocol):
    """The databases of all services, read as the superuser."""

    async def query(self, statement: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """Return the rows of a statement."""


# Each statement returns the rows that break the rule.
RULES: dict[str, LiteralString] = {
    "demo rows belong to an owner whose demo mode shows, makes, removes or keeps them": """
        SELECT owner_id, generation, state FROM (
            SELECT owner_id, generation FROM demo.content UNION SELECT owner_id, generation FROM demo.interactions) AS placed
        LEFT JOIN demo.demo_modes USING (owner_id, generation)
        WHERE (state IS NULL OR state NOT IN ('enabled', 'enabling', 'failed'))
        -- What a failed disable has left belongs to the generation before.
          AND NOT EXISTS (SELECT FROM demo.demo_modes AS mode WHERE mode.owner_id = placed.owner_id
                          AND mode.job_kind = 'demo.disable' AND mode.state IN ('disabling', 'failed'))""",
    "enabled means exactly the rows that were asked for": """
        SELECT owner_id, content_count, interaction_count, items, interactions FROM demo.demo_modes
        CROSS JOIN LATERAL (SELECT count(*) AS items FROM demo.content AS c
                            WHERE c.owner_id = demo_modes.owner_id AND c.generation = demo_modes.generation) AS a
        CROSS JOIN LATERAL (SELECT count(*) AS interactions FROM demo.interactions AS i
                            WHERE i.owner_id = demo_modes.owner_id AND i.generation = demo_modes.generation) AS b
        WHERE state = 'enabled' AND (items, interactions) <> (content_count, interaction_count)""",
    "an owner has at most one demo job that has not ended, and it is the one of the state": """
        SELECT j.owner_id, j.job_id, j.state, m.job_id AS expected, m.state AS mode FROM jobs.jobs AS j
        LEFT JOIN demo.demo_modes AS m USING (owner_id)
        WHERE j.kind IN ('demo.enable', 'demo.disable') AND j.state NOT IN ('completed', 'failed', 'cancelled')
          AND (m.job_id IS DISTINCT FROM j.job_id OR m.state NOT IN ('enabling', 'disabling'))""",
    "every demo mode that was ever changed has its job": """
        SELECT m.owner_id, m.job_id, m.state FROM demo.demo_modes AS m
        LEFT JOIN jobs.jobs AS j USING (job_id, owner_id)
        WHERE m.job_id IS NOT NULL AND (j.job_id IS NULL OR j.kind <> m.job_kind)""",
    "the state of demo mode agrees with its last job": """
        SELECT m.owner_id, m.job_id, m.state AS mode, m.job_kind, m.generation, j.state AS job, j.cancel_reason
        FROM demo.demo_modes AS m JOIN jobs.jobs AS j USING (job_id)
        WHERE NOT CASE m.state
            WHEN 'enabled' THEN j.state = 'completed'
            WHEN 'enabling' THEN j.state NOT IN ('completed', 'failed', 'cancelled')
            WHEN 'disabling' THEN j.state NOT IN ('completed', 'failed', 'cancelled')
            WHEN 'failed' THEN j.state = 'failed' OR j.state = 'cancelled' AND m.job_kind = 'demo.disable'
            -- Dismissed after a failure of either; or the end of a disable, or of an enable that was cancelled.
            ELSE j.state IN ('failed', 'cancelled') OR j.state = 'completed' AND m.job_kind = 'demo.disable'
        END""",
    "the job of a connected platform or of a ready file has completed": """
        SELECT done.owner_id, done.job_id, done.state, j.state AS job, j.cancel_reason FROM (
            SELECT user_id AS owner_id, job_id, state FROM auth.connections WHERE state = 'connected'
            UNION ALL SELECT owner_id, job_id, state FROM demo.exports WHERE state = 'ready'
            UNION ALL SELECT user_id, job_id, state FROM auth.data_exports WHERE state = 'ready') AS done
        JOIN jobs.jobs AS j USING (job_id) WHERE j.state <> 'completed'""",
    "events are numbered from 1 without gaps, but for the million that a failover skips": """
        SELECT owner_id, last_sequence, sequence, step FROM jobs.owners LEFT JOIN (
            SELECT owner_id, sequence,
                sequence - lag(sequence, 1, 0::bigint) OVER (PARTITION BY owner_id ORDER BY sequence) AS step,
                row_number() OVER (PARTITION BY owner_id ORDER BY sequence DESC) = 1 AS is_last
            FROM jobs.job_events) AS numbered USING (owner_id)
        -- The system has no log; a previous release may have left a row.
        WHERE owner_id <> '00000000-0000-0000-0000-000000000000'
          AND (step IS NULL OR step NOT IN (1, 1000001) OR is_last AND sequence <> last_sequence)""",
    "the last event of a job has its state": """
        SELECT * FROM (SELECT DISTINCT ON (job_id) job_id, e.state AS reported, j.state
                       FROM jobs.jobs AS j LEFT JOIN jobs.job_events AS e USING (job_id)
                       ORDER BY job_id, e.sequence DESC) AS last WHERE reported IS DISTINCT FROM state""",
    "a job ends once between two retries by its owner": """
        SELECT job_id FROM jobs.job_events GROUP BY job_id
        HAVING count(*) FILTER (WHERE state IN ('completed', 'failed', 'cancelled'))
             > 1 + count(*) FILTER (WHERE reason = 'retried')""",
    "attempts stay within their budget, and are all known": """
        SELECT job_id, attempt, max_attempts, (SELECT count(*) FROM jobs.attempts AS a WHERE a.job_id = jobs.job_id) AS known
        FROM jobs.jobs WHERE attempt > max_attempts
          OR attempt <> (SELECT count(*) FROM jobs.attempts AS a WHERE a.job_id = jobs.job_id)""",
    "only the last attempt of a held job has no outcome": """
        SELECT a.job_id, a.attempt, j.attempt AS last, j.state FROM jobs.attempts AS a JOIN jobs.jobs AS j USING (job_id)
        WHERE (a.outcome IS NULL) <> (a.attempt = j.attempt AND j.state IN ('running', 'cancelling'))""",
}
OUTBOXES = (
    "SELECT 'auth' AS service, count(*) FROM auth.outbox UNION ALL"
    " SELECT 'demo', count(*) FROM demo.outbox UNION ALL SELECT 'jobs', count(*) FROM jobs.outbox"
)
MOVING = (
    "SELECT job_id::text, state FROM jobs.jobs WHERE state NOT IN ('completed', 'failed', 'cancelled')"
    # On a busy machine jobs take more than a minute: an email will tell their owners, up to 20 minutes later.
    " AND NOT (kind = 'auth.email' AND state = 'scheduled' AND attempt = 0)"
    " UNION ALL SELECT job_id::text, state FROM demo.demo_modes WHERE state IN ('enabling', 'disabling')"
)


async def wait_for_quiet(database: Database, *, seconds: float = 60.0) -> None:
    """Wait until no job and no demo mode is in transition, and the outboxes are empty."""

    async def is_quiet() -> bool:
        waiting_messages = sum(row["count"] for row in await database.query(OUTBOXES))
        return not waiting_messages and not await database.query(MOVING)

    try:
        await waiting.until(is_quiet, "the system is quiet", seconds=seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; {await database.query(OUTBOXES)} {await database.query(MOVING)}") from None


async def broken(database: Database) -> dict[str, list[dict[str, object]]]:
    """Return the rules that do not hold, each with the first rows that break it."""
    violations = {rule: await database.query(statement) for rule, statement in RULES.items()}
    return {rule: rows[:5] for rule, rows in violations.items() if rows}


async def must_hold(database: Database, *, seconds: float = 15.0) -> None:
    """Wait until every rule holds: automatic cleaning has `seconds` for that. Fails with the rows that break one."""

    async def all_hold() -> bool:
        return not await broken(database)

    try:
        await waiting.until(all_hold, "every invariant holds", seconds=seconds)
    except AssertionError:
        raise AssertionError(await broken(database)) from None
