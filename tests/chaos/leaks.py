"""Checks for leaks: no more consumers, connections and tasks after the disturbances than before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx
import nats
from nats.aio.client import Client

from chassis import streams
from dev.embedded import Nats
from tests.acceptance import waiting
from tests.acceptance.invariants import Database
from tests.acceptance.system import System

STREAMS = ("jobs", "demo", "auth")
TASKS = re.compile(r"^event_loop_tasks\S* (\S+)$", re.MULTILINE)
TASKS_SPARE = 20
"""Tasks of a gateway that come and go: requests, reconnecting streams."""
MAX_CONNECTIONS = 170
"""Of all processes to PostgreSQL: docs/operations.md."""
CONNECTIONS: LiteralString = """
SELECT application_name, count(*) FROM pg_stat_activity WHERE usename IN ('auth', 'demo', 'jobs') GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The counts while 20 streams are open and nothing is disturbed."""

    consumers: Mapping[str, int]
    """By stream."""
    tasks: int
    """Of the event loops of all gateways."""

    def has_grown(self, before: Baseline) -> bool:
        """Return whether there are other consumers, or more tasks, than before."""
        return self.consumers != before.consumers or self.tasks > before.tasks + TASKS_SPARE


async def baseline(system: System) -> Baseline:
    """Count consumers and tasks."""
    state = await _monitor(system, "/jsz?accounts=true&streams=true&consumers=true")
    streams_of_all = [stream for account in state["account_details"] for stream in account.get("stream_detail", ())]
    consumers = {stream["name"]: len(stream.get("consumer_detail", ())) for stream in streams_of_all}
    return Baseline(consumers, await _tasks(system))


async def nothing_remains(system: System, before: Baseline) -> None:
    """Wait until there are no more consumers, connections and tasks than before."""
    now = before

    async def is_gone() -> bool:
        nonlocal now
        now = await baseline(system)
        return not now.has_grown(before)

    try:
        await waiting.until(is_gone, "nothing remains", seconds=60.0)
    except AssertionError as error:
        raise AssertionError(f"{error}: {before} became {now}") from None
    connections = await few_connections(system)
    print(f"consumers: {now.consumers}, tasks of gateways: {before.tasks} before, {now.tasks} now; {connections}")


async def few_connections(database: Database, *, at_most: int = MAX_CONNECTIONS) -> dict[str, int]:
    """Return the connections to PostgreSQL by process; there are not too many."""
    connections = {row["application_name"]: row["count"] for row in await database.query(CONNECTIONS)}
    assert sum(connections.values()) <= at_most, connections
    return connections


async def nothing_outlives_the_processes(system: System) -> None:
    """Stop all processes in order; no connection to PostgreSQL or NATS remains."""
    for name in reversed(system.processes):
        await system.stop(name)

    async def is_alone() -> bool:
        connected = [(await _monitor(system, "/connz", node))["num_connections"] for node in _nats_nodes(system)]
        return not any(connected) and not await few_connections(system)

    await waiting.until(is_alone, "all connections are closed", seconds=30.0)


async def connect(system: System) -> Client:
    """Connect past the proxies, as provisioning does."""
    url = system.nats_url_of("provision")
    return await nats.connect(
        url,
        tls=system.certificate("provision").client_context(),
        tls_handshake_first=True,
        inbox_prefix=streams.inbox_prefix(url),
        connect_timeout=10,
    )


def _nats_nodes(system: System) -> list[str]:
    return [name for name in system.servers if name.startswith("nats")]


async def _monitor(system: System, path: str, node: str = "nats") -> dict[str, Any]:
    server = system.servers[node]
    assert isinstance(server, Nats)
    async with httpx.AsyncClient(base_url=server.monitor_url, timeout=10.0) as client:
        state: dict[str, Any] = (await client.get(path)).json()
    return state


async def _tasks(system: System) -> int:
    count = 0.0
    for url in system.urls:
        async with httpx.AsyncClient(base_url=url, timeout=10.0) as client:
            metrics = (await client.get("/metrics")).text
        count += sum(float(value) for value in TASKS.findall(metrics))
    return int(count)
