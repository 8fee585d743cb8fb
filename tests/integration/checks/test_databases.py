"""The checks after a chaos run go red: each finds what is planted in databases that were in order."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import rows

from dev.embedded import EmbeddedServers
from dev.embedded.postgres import SUPERUSER
from tests.acceptance import invariants
from tests.acceptance.streams import Event, Stream
from tests.acceptance.users import User
from tests.chaos import checker, leaks
from tests.chaos.journal import Answer, Journal

OWNER, JOB, OTHER, PLATFORM_USER = (str(uuid.UUID(int=number)) for number in range(1, 5))
IN_ORDER: LiteralString = """
INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, backoff, max_backoff, attempt_timeout, state, run_at,
    attempt, max_attempts, result, started_at, finished_at, fair_rank, ready, payload_bytes)
VALUES (%(job)s, %(owner)s, 'demo.enable', '{}', 0, 3, '1 s', '1 min', '1 min', 'completed', now(),
    1, 3, '{}', now(), now(), 0, false, 2);
INSERT INTO jobs.attempts (job_id, attempt, worker, finished_at, outcome) VALUES (%(job)s, 1, 'w', now(), 'completed');
INSERT INTO jobs.owners (owner_id, last_sequence) VALUES (%(owner)s, 3);
INSERT INTO jobs.job_events (owner_id, sequence, job_id, state, attempt, reason, event) VALUES
    (%(owner)s, 1, %(job)s, 'pending', 0, 'submitted', ''),
    (%(owner)s, 2, %(job)s, 'running', 1, 'claimed', ''),
    (%(owner)s, 3, %(job)s, 'completed', 1, 'completed', '');
INSERT INTO demo.demo_modes (owner_id, state, previous_state, generation, version, attempt, job_id, job_kind, profile_type, niche,
    content_count, interaction_count, seed, seeded_at, content_written, interactions_written, enabled_at, changed_at)
VALUES (%(owner)s, 'enabled', 'enabling', 1, 2, 1, %(job)s, 'demo.enable', 'creator', 'tech_reviews',
    1, 1, 1, now(), 1, 1, now(), now());
INSERT INTO demo.content (owner_id, generation, position, platform, title, published_at, views, likes)
VALUES (%(owner)s, 1, 0, 'youtube', 't', now(), 0, 0);
INSERT INTO demo.interactions (owner_id, generation, position, content_position, kind, platform, author_name, author_handle, text,
    sentiment, occurred_at, replied, likes)
VALUES (%(owner)s, 1, 0, 0, 'comment', 'youtube', 'a', 'a', 't', 'neutral', now(), false, 0);
"""
SECOND_JOB: LiteralString = """
INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, backoff, max_backoff, attempt_timeout, state, run_at,
    attempt, max_attempts, fair_rank, ready, payload_bytes)
VALUES (%(other)s, %(owner)s, 'demo.enable', '{}', 0, 3, '1 s', '1 min', '1 min', 'pending', now(), 0, 3, 0, true, 2)
"""
PLANTED: dict[str, LiteralString] = {
    "demo rows belong to an owner whose demo mode shows, makes, removes or keeps them": (
        "UPDATE demo.content SET generation = 7"
    ),
    "enabled means exactly the rows that were asked for": "DELETE FROM demo.interactions",
    "an owner has at most one demo job that has not ended, and it is the one of the state": SECOND_JOB,
    "every demo mode that was ever changed has its job": "UPDATE jobs.jobs SET kind = 'demo.disable'",
    "the state of demo mode agrees with its last job": (
        "UPDATE jobs.jobs SET state = 'failed', result = NULL, error_code = 'x', error_message = 'x'"
    ),
    "the job of a connected platform or of a ready file has completed": """
        UPDATE jobs.jobs SET state = 'cancelled', result = NULL, cancel_reason = 'requested';
        INSERT INTO auth.data_exports (user_id, state, previous_state, generation, version, job_id, job_kind, chunk_count,
            expires_at, changed_at)
        VALUES (%(owner)s, 'ready', 'exporting', 1, 2, %(job)s, 'auth.export-data', 1, now(), now())""",
    "events are numbered from 1 without gaps, but for the million that a failover skips": (
        "DELETE FROM jobs.job_events WHERE sequence = 2"
    ),
    "the last event of a job has its state": "UPDATE jobs.job_events SET state = 'failed' WHERE sequence = 3",
    "a job ends once between two retries by its owner": (
        "UPDATE jobs.job_events SET state = 'completed' WHERE sequence = 2"
    ),
    "attempts stay within their budget, and are all known": "DELETE FROM jobs.attempts",
    "only the last attempt of a held job has no outcome": "UPDATE jobs.attempts SET outcome = NULL, finished_at = NULL",
}
NAMES = {"owner": OWNER, "job": JOB, "other": OTHER, "user": PLATFORM_USER}


class Databases:
    """Databases in order; what is planted lasts for one test."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        self._connection = connection

    async def query(self, statement: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """Read as the superuser. A read that is cancelled, as at the end of a wait, leaves what is planted in place."""
        async with self._connection.transaction():
            return await (await self._connection.execute(statement, parameters)).fetchall()

    async def plant(self, statements: LiteralString) -> None:
        """Change rows; constraints hold, triggers and references do not."""
        await self._connection.execute("SET LOCAL session_replication_role = replica")
        async with psycopg.AsyncClientCursor(self._connection) as cursor:
            await cursor.execute(statements, NAMES)


@pytest.fixture(scope="module")
def url(provisioned: EmbeddedServers, create_database: Callable[[], Callable[[str], str]]) -> str:
    """A database without the rows of other tests."""
    name = urlsplit(create_database()("jobs")).path.removeprefix("/")
    return provisioned.postgres.url_for(SUPERUSER, provisioned.postgres.password, name)


@pytest.fixture
async def databases(url: str) -> AsyncIterator[Databases]:
    connection = await psycopg.AsyncConnection.connect(url, row_factory=rows.dict_row)
    databases = Databases(connection)
    await databases.plant(IN_ORDER)
    yield databases
    await connection.rollback()
    await connection.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.accept(OWNER, JOB, 0.1)
    yield journal
    journal.close()


def stream_of(*events: Event) -> dict[str, Stream]:
    """Return what a reader got, by owner."""
    stream = Stream(User("http://localhost"))
    stream.events += [Event(id=0, name="hello", data={}), *events]
    return {OWNER: stream}


def transition(number: int, version: int | None = None) -> Event:
    data = {"job_id": JOB, "status": "running", "version": version or number, "progress": None}
    return Event(id=number, name="job", data=data)


ALL = [transition(number) for number in (1, 2, 3)]


async def test_databases_in_order_are_green(databases: Databases, journal: Journal) -> None:
    await invariants.wait_for_quiet(databases)
    assert await invariants.broken(databases) == {}
    await checker.promises_are_kept(databases, journal)
    await checker.same_key_same_answer(databases, journal)
    await checker.transitions_are_legal(databases)
    await checker.errors_are_explained(databases)
    await checker.nothing_leaks(databases)
    await checker.streams_are_complete(databases, stream_of(*ALL))


async def test_email_that_waits_for_its_window_is_quiet(databases: Databases) -> None:
    await databases.plant(SECOND_JOB)
    await databases.plant(
        "UPDATE jobs.jobs SET kind = 'auth.email', state = 'scheduled', ready = false WHERE job_id = %(other)s"
    )
    await invariants.wait_for_quiet(databases)


def test_every_rule_is_tried() -> None:
    assert PLANTED.keys() == invariants.RULES.keys()


@pytest.mark.parametrize("rule", invariants.RULES)
async def test_broken_rule_is_found(databases: Databases, rule: str) -> None:
    await databases.plant(PLANTED[rule])
    assert rule in await invariants.broken(databases)
    with pytest.raises(AssertionError):
        await invariants.must_hold(databases, seconds=0.1)


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(SECOND_JOB, id="a job that has not ended"),
        pytest.param(
            "UPDATE demo.demo_modes SET state = 'enabling', previous_state = 'disabled', enabled_at = NULL",
            id="a demo mode in transition",
        ),
        *(
            pytest.param(
                f"INSERT INTO {service}.outbox (message_id, subject, payload) VALUES (gen_random_uuid(), 's', '')",
                id=f"a message of {service}",
            )
            for service in ("auth", "demo", "jobs")
        ),
    ],
)
async def test_system_that_is_not_quiet_is_found(databases: Databases, planted: Any) -> None:
    await databases.plant(planted)
    with pytest.raises(AssertionError, match="the system is quiet"):
        await invariants.wait_for_quiet(databases, seconds=0.1)


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param("DELETE FROM jobs.jobs", id="the job of an accepted call is gone"),
        pytest.param(f"UPDATE jobs.jobs SET owner_id = '{OTHER}'", id="it is another user's"),
        pytest.param(
            f"DELETE FROM jobs.jobs; {SECOND_JOB}; UPDATE jobs.jobs SET job_id = '{JOB}'", id="it has not ended"
        ),
    ],
)
async def test_broken_promise_is_found(databases: Databases, journal: Journal, planted: Any) -> None:
    await databases.plant(planted)
    with pytest.raises(AssertionError):
        await checker.promises_are_kept(databases, journal)


async def test_job_of_a_schedule_that_starts_after_the_run_breaks_no_promise(
    databases: Databases, journal: Journal
) -> None:
    await databases.plant(SECOND_JOB)
    await checker.promises_are_kept(databases, journal)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([Answer(0, 1, 202, JOB), Answer(2, 3, 202, OTHER)], id="another job"),
        pytest.param([Answer(0, 1, 202, JOB), Answer(2, 3, 409)], id="a refusal after the acceptance"),
    ],
)
async def test_other_answer_to_the_same_key_is_found(
    databases: Databases, journal: Journal, answers: list[Answer]
) -> None:
    for answer in answers:
        journal.answer(OWNER, "/demo/enable", "key", answer)
    with pytest.raises(AssertionError):
        await checker.same_key_same_answer(databases, journal)


async def test_second_job_of_a_key_is_found(databases: Databases, journal: Journal) -> None:
    journal.answer(OWNER, "/demo/enable", "key", Answer(0, 1, 202, JOB))
    await checker.same_key_same_answer(databases, journal)
    await databases.plant(SECOND_JOB)
    with pytest.raises(AssertionError):
        await checker.same_key_same_answer(databases, journal)


async def test_illegal_transition_is_found(databases: Databases) -> None:
    await databases.plant("UPDATE jobs.job_events SET state = 'pending' WHERE sequence = 3")
    with pytest.raises(AssertionError):
        await checker.transitions_are_legal(databases)


async def test_unexplained_error_is_found(databases: Databases) -> None:
    await databases.plant("UPDATE jobs.attempts SET outcome = 'failed', error_code = 'internal', error_message = 'x'")
    with pytest.raises(AssertionError):
        await checker.errors_are_explained(databases)


async def test_open_transaction_is_found(databases: Databases, database_url: Callable[[str], str]) -> None:
    async with await psycopg.AsyncConnection.connect(database_url("jobs")) as connection:
        await connection.execute("SELECT 1")
        with pytest.raises(AssertionError, match="idle in transaction"):
            # Any transaction is older than an hour from now.
            await checker.nothing_leaks(databases, oldest_seconds=-3600, seconds=0.1)


@pytest.mark.parametrize("state", ["disconnecting", "connecting"])
async def test_unfinished_connection_to_a_platform_is_found(databases: Databases, state: str) -> None:
    await databases.plant("""
        INSERT INTO auth.connections (user_id, platform, state, previous_state, generation, version)
        VALUES (%(user)s, 'p', 'connecting', 'disconnected', 1, 1)""")
    if state == "disconnecting":
        await databases.plant("""
            UPDATE auth.connections SET state = 'disconnecting', previous_state = 'connecting', job_id = %(job)s,
                job_kind = 'auth.disconnect'""")
    with pytest.raises(AssertionError, match="under way"):
        await checker.nothing_leaks(databases, seconds=0.1)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(ALL[:2], id="the last one is missing"),
        pytest.param([ALL[0], ALL[2]], id="a gap"),
        pytest.param([ALL[0], ALL[1], ALL[1], ALL[2]], id="one twice"),
        pytest.param([ALL[1], ALL[0], ALL[2]], id="another order"),
        pytest.param([*ALL[:2], Event(id=2, name="reset", data={}), ALL[2]], id="a reset"),
        pytest.param([transition(1, 2), transition(2, 1), ALL[2]], id="an older version"),
    ],
)
async def test_incomplete_stream_is_found(databases: Databases, events: list[Event]) -> None:
    with pytest.raises(AssertionError):
        await checker.streams_are_complete(databases, stream_of(*events), seconds=0.1)


async def test_too_many_connections_are_found(databases: Databases, database_url: Callable[[str], str]) -> None:
    async with await psycopg.AsyncConnection.connect(database_url("demo"), application_name="left"):
        assert "left" in await leaks.few_connections(databases, at_most=1_000)
        with pytest.raises(AssertionError, match="left"):
            await leaks.few_connections(databases, at_most=0)
