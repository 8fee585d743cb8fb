"""`python -m bench.jobs.stored`: bytes of a finished job on disk, and the cost of a read of many owners' last sequences.

For `bench.sizing`: gateways read the last sequence of every owner with an open stream every two seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import tempfile
import time
from pathlib import Path
from uuid import UUID

import psycopg

from bench import cpu
from bench.jobs import retention
from chassis import postgres
from gateway.stream.event_reader import OWNERS_PER_CALL
from repruv.jobs.v1 import jobs_service_pb2 as pb
from services.jobs import event_log

READS = 300
_BYTES = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'jobs'::regnamespace AND relkind = 'r'"
)
_OWNERS = (
    "INSERT INTO jobs.owners (owner_id, last_sequence) SELECT md5(n::text)::uuid, n FROM generate_series(1, %s) AS n"
)


def main() -> None:
    """Print the two costs."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs.stored", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000, help="finished jobs (default: 200000)")
    parser.add_argument("--owners", type=int, default=1_000_000, help="users with events (default: 1000000)")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory,
        retention.database(Path(directory)) as (admin, url),
    ):
        empty = _bytes(admin)
        retention.fill(admin, args.jobs)
        size = (_bytes(admin) - empty) / args.jobs
        print(f"{size:,.0f} bytes on disk of a finished job, its attempt and three events of 300 bytes")
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute("TRUNCATE jobs.owners")
            conn.execute(_OWNERS, [args.owners])
            conn.execute("VACUUM (ANALYZE) jobs.owners")
        asyncio.run(_read(url, args.owners))


def _bytes(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute(_BYTES).fetchone()
        return int(row[0]) if row else 0


async def _read(url: str, owners: int) -> None:
    engine = postgres.engine(url, name="bench")
    async with engine.connect() as conn:
        pid = (await conn.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
        server, client = cpu.processor_seconds([pid]), time.process_time()
        for _ in range(READS):
            chosen = [_owner(random.randint(1, owners)) for _ in range(OWNERS_PER_CALL)]
            sequences = await event_log.last_sequences(conn, chosen)
            pb.BatchGetEventPositionsResponse(
                latest_sequences={str(owner): sequence for owner, sequence in sequences.items()}
            ).SerializeToString()
        server, client = cpu.processor_seconds([pid]) - server, time.process_time() - client
    await engine.dispose()
    print(
        f"{OWNERS_PER_CALL} sequences of {owners:,} owners: {server / READS * 1e3:.2f} ms of PostgreSQL, "
        f"{client / READS * 1e3:.2f} ms of the jobs service"
    )


def _owner(number: int) -> UUID:
    return UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())


if __name__ == "__main__":
    main()
