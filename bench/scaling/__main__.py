"""Command line: each step of `steps` under a steady load of enables, as a Markdown table. Exits with 1 if a request failed.

Handlers pause between their writes, as those that wait for another system do: one worker is too slow for the load, four are not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import uvloop

from bench import load
from bench.samples import percentile
from bench.scaling import steps, upgrade
from bench.scaling.balancer import Balancer
from bench.scaling.steps import Replicas, Step
from bench.system import System, User, running

RATE, SECONDS = 15.0, 12.0
SPARE_SECONDS = 60.0
"""Extra time of a step for which users are signed up in advance; each user enables once."""
STEP_SECONDS = 120.0
OPTIONS = {"profile_type": "creator", "niche": "gaming", "content_count": 2, "interaction_count": 150}
PAUSE = {"DEMO_BATCH_PAUSE_MS": "600"}
"""A worker runs four jobs at once, each for this long and its writes: about six a second."""
SHORT_PAUSE = {"DEMO_BATCH_PAUSE_MS": "200"}
"""For upgrades: two workers carry the load, and most of the time jobs run while a worker is replaced."""
COLUMNS = ("step", "answers/s", "p50", "p99", "sent again", "failed", "jobs/s", "job p50", "job p99")
JOBS = """
SELECT extract(epoch FROM finished_at - created_at)::float, state FROM jobs.jobs
WHERE kind = 'demo.enable' AND finished_at >= %s AND finished_at < %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step did to requests and jobs."""

    offered: load.Offered
    seconds: float
    repeated: int
    jobs: Sequence[float]
    """Seconds from the submit to the end of the jobs that ended during the step."""

    def row(self, name: str) -> str:
        """Return its row of the table."""
        answers = self.offered.durations
        figures = (
            f"{len(answers) / self.seconds:.1f}",
            *(f"{percentile(answers, rank) * 1e3:.0f} ms" for rank in (50, 99)),
            f"{self.repeated}",
            f"{len(self.offered.failures)}",
            f"{len(self.jobs) / self.seconds:.1f}",
            *(f"{percentile(self.jobs, rank):.1f} s" for rank in (50, 99)),
        )
        return f"| {name} | {' | '.join(figures)} |"


def main(arguments: Sequence[str]) -> int:
    """Run all steps of replicas, or of an upgrade. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--rate", type=float, default=RATE, help=f"enables a second ({RATE:g})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each step ({SECONDS:g})")
    parser.add_argument("--upgrade", action="store_true", help="from the previous release to this one, and back")
    args = parser.parse_args(arguments)
    if args.upgrade:
        with (
            upgrade.previous_release() as previous,
            running(
                env=SHORT_PAUSE,
                scale=upgrade.SCALE,
                variant=lambda name, _: previous if name in upgrade.PROCESSES else {},
            ) as stack,
        ):
            return uvloop.run(_run(System(stack), lambda replicas: upgrade.steps(replicas, previous), args))
    with running(env=PAUSE, scale=steps.SCALE) as stack:
        for name, count in steps.SCALE.items():
            for index in range(1, count):
                stack.stop_process(name, index)
        return uvloop.run(_run(System(stack), steps.steps, args))


async def _run(system: System, plan: Callable[[Replicas], Iterable[Step]], args: argparse.Namespace) -> int:
    rate, seconds = args.rate, args.seconds
    balancer = Balancer(system.stack.urls, in_rotation=len(system.stack.urls) if args.upgrade else 1)
    planned = list(plan(Replicas(system.stack, balancer)))
    users: deque[User] = deque()
    print(f"{rate:g} enables a second, {seconds:g} s a step, {os.cpu_count()} processors.\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    problems: list[str] = []
    async with await system.connect_database() as conn:
        for step in planned:
            users += await system.sign_up(max(0, round(rate * (seconds + SPARE_SECONDS)) - len(users)))
            before = len(balancer.repeated)
            measured = await _measure(conn, balancer, step, users, rate=rate, seconds=seconds)
            print(measured.row(step.name), flush=True)
            reasons = balancer.repeated[before:] if not step.may_repeat else []
            problems += [f"{step.name}: {reason}" for reason in (*map(repr, measured.offered.failures), *reasons)]
        drained = await system.quiet()
        problems += await _broken_promises(conn, balancer)
    print(f"\n{len(balancer.accepted)} accepted; all jobs had ended {drained:.1f} s after the last answer.")
    for reason, count in Counter(balancer.repeated).items():
        print(f"sent again, {count} ×: {reason}")
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


async def _measure(
    conn: psycopg.AsyncConnection, balancer: Balancer, step: Step, users: deque[User], *, rate: float, seconds: float
) -> StepResult:
    """Offer the load for `seconds`, and until the step has ended."""
    began, before = await _now(conn), len(balancer.repeated)

    async def enable(_: int) -> None:
        await balancer.enable(users.popleft(), OPTIONS)

    async with asyncio.timeout(STEP_SECONDS):
        acting = asyncio.ensure_future(step.act() if step.act else asyncio.sleep(0))
        offered = await load.offer(enable, rate=rate, count=round(rate * seconds))
        while not acting.done():
            more = await load.offer(enable, rate=rate, count=round(rate))
            offered.durations.extend(more.durations)
            offered.failures.extend(more.failures)
        await acting
    ended = await _now(conn)
    rows = await (await conn.execute(JOBS, (began, ended))).fetchall()
    return StepResult(
        offered=offered,
        seconds=(ended - began).total_seconds(),
        repeated=len(balancer.repeated) - before,
        jobs=[row[0] for row in rows],
    )


async def _broken_promises(conn: psycopg.AsyncConnection, balancer: Balancer) -> list[str]:
    """Return the accepted jobs that did not complete, and jobs that nobody asked for."""
    rows: list[Any] = await (
        await conn.execute("SELECT job_id::text, state FROM jobs.jobs WHERE kind = 'demo.enable'")
    ).fetchall()
    states = dict(rows)
    accepted = set(balancer.accepted.values())
    incomplete = [f"job {job_id} is {states.get(job_id)}" for job_id in accepted if states.get(job_id) != "completed"]
    return incomplete + [f"job {job_id} was made twice" for job_id in states.keys() - accepted]


async def _now(conn: psycopg.AsyncConnection) -> datetime:
    row = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
