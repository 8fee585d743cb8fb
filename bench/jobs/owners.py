"""`python -m bench.jobs.owners`: jobs stored a second by transactions of their own: of one user, the system, a thousand users.

The transactions of one user wait for each other at the row that numbers the user's events. Rounds alternate, so that all three
are measured in the same minute.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import uvloop

from bench.jobs import retention
from chassis import bus, ids, outbox, postgres
from services.jobs import domain, schema
from services.jobs.operations import Operations

ROUNDS, JOBS, AT_ONCE = 5, 300, 16
OWNERS: Mapping[str, Sequence[UUID]] = {
    "one user": [uuid4()],
    "the system": [domain.SYSTEM],
    "1,000 users": [uuid4() for _ in range(1_000)],
}


def main() -> None:
    """Print the median of the rounds."""
    with tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory, retention.database(Path(directory)) as urls:
        for name, rates in uvloop.run(_measure(urls[1])).items():
            figures = f"{min(rates):,.0f} to {max(rates):,.0f}"
            print(f"{name}: {statistics.median(rates):,.0f} jobs/s, median of {ROUNDS} rounds ({figures})")


async def _measure(url: str) -> Mapping[str, list[float]]:
    engine = postgres.engine(url, name="bench", pool_size=4 * AT_ONCE, lock_seconds=60.0)
    # Unconnected: only the database is measured.
    nats = bus.Bus("nats://127.0.0.1:1", name="bench")
    jobs = Operations(engine, outbox.Relay(engine, schema.outbox, {}), nats, lease=timedelta(seconds=3))
    rates: Mapping[str, list[float]] = {name: [] for name in OWNERS}
    for number in range(ROUNDS + 1):
        for name, owners in OWNERS.items():
            rate = await _rate(jobs, owners)
            if number:  # the first round fills the pool
                rates[name].append(rate)
    await engine.dispose()
    return rates


async def _rate(jobs: Operations, owners: Sequence[UUID]) -> float:
    following = itertools.cycle(owners)
    left = iter(range(JOBS))

    async def store() -> None:
        for _ in left:
            spec = domain.Spec(kind="demo.noop", owner_id=next(following), payload={})
            async with jobs.transaction() as tx:
                await tx.submit([(ids.uuid7(), spec)])

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(store())
    return JOBS / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
