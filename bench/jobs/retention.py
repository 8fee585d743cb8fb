"""`python -m bench.jobs.retention`: deletes a large history and shows what each batch costs, early and late."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

import psycopg

from chassis import migrations, postgres
from dev.embedded.postgres import Postgres
from provision import roles
from services.jobs import __main__ as jobs_process
from services.jobs import retention

PASSWORD = "local-only"  # noqa: S105 - of a server that lives as long as the measurement
CHUNK = 100_000
TENTHS = 10
# Jobs of one kind that ended one after the other, the last one just before the retention of unknown kinds.
INSERT = """
    WITH made AS (
        INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, backoff, max_backoff, attempt_timeout,
                               state, run_at, attempt, max_attempts, result, version, created_at, started_at, finished_at)
        SELECT uuidv7(past), md5((n %% 1000)::text)::uuid, 'bench.ended', jsonb_build_object('index', n), 0, 3, '1 s', '1 min',
               '10 min', 'completed', now() + past, 1, 3, '{}', 3, now() + past, now() + past, now() + past
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
             LATERAL (SELECT -interval '8 days' + n * interval '1 day' / %(all)s AS past) AS shift
        RETURNING job_id, owner_id, finished_at
    ), attempts AS (
        INSERT INTO jobs.attempts (job_id, attempt, worker, started_at, finished_at, outcome)
        SELECT job_id, 1, 'w', finished_at, finished_at, 'completed' FROM made
    )
    INSERT INTO jobs.job_events (owner_id, sequence, job_id, state, attempt, reason, event, occurred_at)
    SELECT owner_id, %(first)s * 10 + 3 * row_number() OVER () + step, job_id, 'completed', 1, 'completed',
           repeat('x', 300)::bytea, finished_at FROM made, generate_series(0, 2) AS step
"""


def main() -> None:
    """Measure once, or beside an open snapshot."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs.retention", description=__doc__)
    parser.add_argument("--jobs", type=int, default=500_000, help="finished jobs (default: 500000)")
    parser.add_argument("--snapshot", action="store_true", help="with a snapshot open meanwhile, as pg_dump keeps one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory, database(Path(directory)) as (admin, url):
        fill(admin, args.jobs)
        with _snapshot(admin) if args.snapshot else nullcontext():
            asyncio.run(_delete(url))


@contextmanager
def database(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of the superuser and of the jobs service's role for a new database with its tables."""
    with Postgres(directory, password=PASSWORD).temporary() as server:
        roles.provision(server.url, {"jobs": PASSWORD})
        url = roles.service_url(server.url, "jobs", PASSWORD)
        migrations.upgrade(url, "jobs", jobs_process.MIGRATIONS)
        yield server.url, url


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    with psycopg.connect(url) as conn:
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        conn.execute("SELECT 1")
        yield


def fill(url: str, count: int) -> None:
    """Insert finished jobs."""
    with psycopg.connect(url, autocommit=True) as conn:
        for first in range(1, count + 1, CHUNK):
            conn.execute(INSERT, {"first": first, "last": min(first + CHUNK - 1, count), "all": count})
            print(f"{min(first + CHUNK - 1, count):,} of {count:,} finished jobs", flush=True)
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")


async def _delete(url: str) -> None:
    """Call the cleanup until nothing is left; show the batches by tenths, and the first batch of each call."""
    engine = postgres.engine(url, name="bench")
    seconds: list[float] = []
    first: list[float] = []
    began = last = time.perf_counter()
    positions: dict[str, retention.Position] = {}
    is_complete = False
    while not is_complete:
        is_first, last = True, time.perf_counter()

        async def note(_: int) -> None:
            nonlocal last, is_first
            took = time.perf_counter() - last
            seconds.append(took)
            if is_first:
                first.append(took)
            is_first = False
            last = time.perf_counter()

        deleted = await retention.clean(engine, note, positions=positions, pause_seconds=0.0)
        is_complete = deleted.is_complete
    total = time.perf_counter() - began
    await engine.dispose()
    size = max(1, len(seconds) // TENTHS)
    tenths = [median(seconds[start : start + size]) * 1e3 for start in range(0, len(seconds) - size + 1, size)]
    print(f"median of a batch of {retention.BATCH:,}, by tenths: {', '.join(f'{ms:.0f}' for ms in tenths)} ms")
    print(
        f"first batch of each call: {', '.join(f'{took * 1e3:.0f}' for took in first)} ms; slowest {max(seconds) * 1e3:.0f} ms"
    )
    print(f"{len(seconds) * retention.BATCH / total:,.0f} jobs a second")


if __name__ == "__main__":
    main()
