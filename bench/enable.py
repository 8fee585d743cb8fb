"""POST /demo/enable next to its parts, measured alternately in one run under the same load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench import cpu, load
from bench.samples import Row, Section, percentile
from bench.system import System
from chassis.rpc import credentials

LOADS = ((20.0, 500), (100.0, 1000))
"""Requests per second, and requests in total."""
WARM_UP = 60
DEMO_OPTIONS = {"profile_type": "creator", "niche": "gaming", "content_count": 2, "interaction_count": 10}
"""Little data: the measurement is about accepting, so the worker must leave the processors free."""
TIMES_PARTS = 3.0
P99_SECONDS = 0.05

Probe = Callable[[], Awaitable[object]]


async def run(system: System) -> list[Section]:
    """Measure at each load."""
    async with _parts(system) as parts:
        await _enable(system, parts, rate=LOADS[0][0], count=WARM_UP)
        return [await _enable(system, parts, rate=rate, count=count) for rate, count in LOADS]


async def _enable(system: System, parts: dict[str, Probe], *, rate: float, count: int) -> Section:
    users = await system.sign_up(count)
    await system.quiet()
    before = cpu.seconds(system.stack)

    async def enable(index: int) -> None:
        await system.enable(users[index], DEMO_OPTIONS)

    # The parts share one load of the same rate: each runs after every third request.
    probes = list(parts.values())
    taken: list[list[float]] = [[] for _ in probes]

    async def probe(index: int) -> None:
        taken[index % len(probes)].append(await load.timed(probes[index % len(probes)]()))

    offered, probed = await asyncio.gather(
        load.offer(enable, rate=rate, count=count, seed=1), load.offer(probe, rate=rate, count=count, seed=2)
    )
    backlog = await system.quiet()
    after = cpu.seconds(system.stack)
    limit = TIMES_PARTS * sum(percentile(durations, 50) for durations in taken)
    rows = [
        Row(
            name="POST /demo/enable",
            durations=offered.durations,
            failed=len(offered.failures),
            limits=((50, limit), (99, P99_SECONDS)),
        ),
        *(Row(name=f"  {name}", durations=durations) for name, durations in zip(parts, taken, strict=True)),
    ]
    ratio = percentile(offered.durations, 50) / limit * TIMES_PARTS
    late = percentile([*offered.lateness, *probed.lateness], 99)
    costs = {name: (after[name] - before[name]) * 1000 / count for name in after}
    notes = [
        f"Each asks for only {DEMO_OPTIONS['interaction_count']} interactions, lest the worker take both processors.",
        f"The median is {ratio:.1f} times the sum of its parts. The load was at most {late * 1000:.1f} ms late (p99).",
        f"{backlog:.1f} s after the last answer every job had ended.",
    ]
    if offered.failures:
        notes.append(f"{len(offered.failures)} of {count} requests failed; the first: {offered.failures[0]}")
    if costs:
        listing = ", ".join(f"{name} {cost:.1f}" for name, cost in sorted(costs.items(), key=lambda item: -item[1]))
        notes.append(
            f"Processor ms an enable, with its job and the parts: {listing}; {sum(costs.values()):.1f} together."
        )
    return Section(title=f"Enable, {rate:.0f} requests/s, each by a user of its own", rows=rows, notes=notes)


def _open(system: System) -> grpc.aio.Channel:
    certificate = system.stack.certificate("gateway").material()
    return grpc.aio.secure_channel(system.stack.target("demo"), credentials.for_channel(certificate))


@contextlib.asynccontextmanager
async def _parts(system: System) -> AsyncIterator[dict[str, Probe]]:
    async with await system.connect_database() as conn:
        await conn.execute("CREATE SCHEMA bench")
        await conn.execute("CREATE TABLE bench.rows (id bigserial PRIMARY KEY, text text NOT NULL)")
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(_open(system))
        check: Any = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in the types
        idle = [await stack.enter_async_context(await system.connect_database()) for _ in range(8)]

        async def empty_request() -> None:
            await system.http.request("GET", "/healthz", expected=200)

        async def empty_call() -> None:
            await check(health_pb2.HealthCheckRequest(), timeout=5.0)

        async def commit() -> None:
            conn = idle.pop()
            await conn.execute("INSERT INTO bench.rows (text) VALUES ('row')", prepare=True)
            idle.append(conn)

        yield {
            "an empty request (GET /healthz)": empty_request,
            "an empty gRPC call (health of demo)": empty_call,
            "a commit (INSERT of one row)": commit,
        }
        async with await system.connect_database() as conn:
            await conn.execute("DROP SCHEMA bench CASCADE")
