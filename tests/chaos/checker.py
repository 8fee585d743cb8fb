"""Checks what the journal and the databases say after a run; `tests.acceptance.invariants` has the rules of the databases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

from services.jobs import domain
from tests.acceptance import waiting
from tests.acceptance.invariants import Database
from tests.acceptance.streams import Stream
from tests.acceptance.users import AWAY
from tests.chaos.journal import Journal

ERRORS = {
    "demo_handler_failed",
    "platform_unavailable",
    "platform_refused",
    "connection_failed",
    "access_denied",
    "demo_not_enabled",
}
"""Errors that a disturbed handler may report; `internal` is none of them."""
MADE_BY = {"/demo/enable": "demo.enable", "/exports": "demo.export"}
"""The kinds of jobs that only calls to one path make."""
LEGAL = {(str(source), str(target)) for sources, target in domain.TRANSITIONS.values() for source in sources}
OPEN_TRANSACTIONS = """
SELECT application_name, state, query, now() - xact_start AS age FROM pg_stat_activity
WHERE usename IN ('auth', 'demo', 'jobs') AND xact_start < now() - make_interval(secs => %s)
"""
MOVING_CONNECTIONS = """
SELECT c.* FROM auth.connections AS c LEFT JOIN auth.connection_authorizations AS waiting USING (user_id, platform, generation)
WHERE c.state = 'disconnecting' OR c.state = 'connecting' AND waiting.generation IS NULL
"""
"""A connection whose user has not come back from the platform, as after a lost answer, waits for ten minutes."""


async def promises_are_kept(database: Database, journal: Journal) -> None:
    """Check that every accepted call became a job of its user, and that the job has ended. Schedules start others meanwhile."""
    rows = await database.query("SELECT job_id::text, owner_id::text, state FROM jobs.jobs")
    jobs = {row["job_id"]: row for row in rows}
    assert journal.accepted.keys() <= jobs.keys(), journal.accepted.keys() - jobs.keys()
    foreign = {job_id for job_id, user_id in journal.accepted.items() if jobs[job_id]["owner_id"] != user_id}
    assert not foreign, foreign
    moving = {
        job_id: jobs[job_id]["state"] for job_id in journal.accepted if jobs[job_id]["state"] not in domain.FINISHED
    }
    assert not moving, moving
    print(f"jobs: {dict(Counter(row['state'] for row in rows))}; answers: {dict(journal.answers)}")


async def same_key_same_answer(database: Database, journal: Journal) -> None:
    """Every accepted answer to one key names the same job, no repetition of it is refused, and no key makes two jobs."""
    for key, answers in journal.by_key.items():
        accepted = [answer for answer in answers if answer.job_id]
        assert len({answer.job_id for answer in accepted}) <= 1, (key, answers)
        first = min((answer.ended for answer in accepted), default=float("inf"))
        late = [answer for answer in answers if answer.began > first and answer.status not in AWAY | {0, 202}]
        assert not late, (key, answers)
    rows = await database.query("SELECT owner_id::text, kind, count(*) FROM jobs.jobs GROUP BY 1, 2")
    keys = Counter((user_id, path) for user_id, path, _ in journal.by_key)
    users = {user_id for user_id, _ in keys}
    for path, kind in MADE_BY.items():
        jobs_of_kind = [row for row in rows if row["kind"] == kind and row["owner_id"] in users]
        several = [row for row in jobs_of_kind if row["count"] > keys[row["owner_id"], path]]
        assert not several, several
    repeated = [answers for answers in journal.by_key.values() if len(answers) > 1]
    lost = sum(answers[0].status == 0 and bool(answers[-1].job_id) for answers in repeated)
    print(f"keys: {len(journal.by_key)}, repeated: {len(repeated)}, accepted after a lost answer: {lost}")


async def transitions_are_legal(database: Database) -> None:
    """Each job's events follow the table of transitions."""
    rows = await database.query("SELECT job_id::text, state, reason FROM jobs.job_events ORDER BY job_id, sequence")
    by_job: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_job[row["job_id"]].append(row["state"])
    for job_id, states in by_job.items():
        illegal = [step for step in pairwise(states) if step not in LEGAL]
        assert not illegal, (job_id, states, illegal)


async def errors_are_explained(database: Database) -> None:
    """No attempt failed because of a disturbance."""
    errors = await database.query("SELECT error_code, count(*) FROM jobs.attempts WHERE outcome = 'failed' GROUP BY 1")
    assert {row["error_code"] for row in errors} <= ERRORS, errors
    attempts = await database.query("SELECT outcome, count(*) FROM jobs.attempts GROUP BY 1")
    print(f"attempts: { ({row['outcome']: row['count'] for row in attempts}) }; errors: {errors}")


async def nothing_leaks(database: Database, *, oldest_seconds: float = 10.0, seconds: float = 60.0) -> None:
    """Wait until no transaction is older than `oldest_seconds` and no connection to a platform is under way."""
    remaining: list[dict[str, object]] = []

    async def is_over() -> bool:
        open_transactions = await database.query(OPEN_TRANSACTIONS, oldest_seconds)
        remaining[:] = open_transactions + await database.query(MOVING_CONNECTIONS)
        return not remaining

    try:
        await waiting.until(is_over, "no transaction and no connection to a platform is under way", seconds=seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {remaining}") from None


async def streams_are_complete(
    database: Database, streams: Mapping[str, Stream], *, seconds: float = 30.0, may_reset: bool = False
) -> None:
    """Every stream has sent every transition of its owner, in order, once, whatever its reconnects.

    With `may_reset`, as after a failover, except where a `reset` says so.
    """
    rows = await database.query("SELECT owner_id::text, last_sequence FROM jobs.owners")
    latest = {row["owner_id"]: row["last_sequence"] for row in rows}

    async def has_caught_up() -> bool:
        return all(stream.position == latest.get(owner, 0) for owner, stream in streams.items())

    await waiting.until(has_caught_up, "the streams have sent everything", seconds=seconds)
    for stream in streams.values():
        if may_reset:
            stream.must_be_gap_free_or_reset()
        else:
            stream.must_be_gap_free()
        stream.must_never_fall_back()
    connections = sum(stream.connections for stream in streams.values())
    print(f"transitions sent: {sum(len(stream.numbered) for stream in streams.values())}, connections: {connections}")
