"""A killed NATS node, or one that lost its store, has no effect for clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest

from chassis import bus, run, streams
from dev.embedded import EmbeddedServers, Nats
from provision import services
from provision import streams as provisioning
from tests.acceptance.system import System
from tests.ha.conftest import TheLoad

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
NODES = ("nats", "nats-2", "nats-3")
DOWN_SECONDS = 5.0
MESSAGES_BETWEEN = 200
PUBLISH_SECONDS = 60.0
RETRY_SECONDS = 0.05


@pytest.mark.timeout(300)
async def test_users_notice_no_lost_node(system: System, load: TheLoad) -> None:
    async with load(system) as generated:
        for name in NODES:
            await asyncio.sleep(DOWN_SECONDS)
            await system.kill(name)
            await asyncio.sleep(DOWN_SECONDS)
            if name == NODES[-1]:
                await system.erase(name)
            await system.start(name)
        await asyncio.sleep(DOWN_SECONDS)
    assert set(generated.answers) <= {"200", "202", "404", "409"}, "no request failed"
    for stream in generated.streams.values():
        stream.must_be_gap_free()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EmbeddedServers]:
    """Three NATS nodes; PostgreSQL is not started."""
    servers = EmbeddedServers.highly_available(tmp_path, postgres_password="", nats_password="p")
    await asyncio.to_thread(servers.start_nats)
    yield servers
    await asyncio.to_thread(servers.erase)


@pytest.mark.timeout(300)
async def test_acknowledged_messages_survive_any_node_and_one_lost_store(
    cluster: EmbeddedServers, eventually: Eventually
) -> None:
    published: list[str] = []
    received: set[str] = set()
    stop = asyncio.Event()

    async def record(message: bus.Received) -> None:
        received.add(message.message_id)

    tested_bus = bus.Bus(cluster.nats_url("repruv", "p"), name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", record)

    async def publish() -> None:
        while not stop.is_set():
            message_id = f"id-{len(published)}"
            try:
                await tested_bus.publish(message_id, "jobs.events.demo.x", b"event")
            except (OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error):
                await asyncio.sleep(RETRY_SECONDS)  # then it is published again, as by an outbox
            else:
                published.append(message_id)

    async def more_are_published() -> None:
        target = len(published) + MESSAGES_BETWEEN
        async with asyncio.timeout(PUBLISH_SECONDS):
            while len(published) < target:
                await asyncio.sleep(0.02)

    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        publishing = asyncio.create_task(publish())
        await more_are_published()
        for node in cluster.nats_nodes:
            await asyncio.to_thread(node.kill)
            await more_are_published()
            if node is cluster.nats_nodes[-1]:
                await asyncio.to_thread(node.erase)
            await asyncio.to_thread(node.start)
            await more_are_published()
            await eventually(lambda: _is_complete(cluster.nats))
        stop.set()
        await publishing

        async def all_are_received() -> bool:
            return set(published) <= received

        await eventually(all_are_received)
    assert len(set(published)) == len(published)


async def test_cluster_that_has_just_started_is_provisioned(cluster: EmbeddedServers) -> None:
    url = cluster.nats_url("repruv", "p")
    for hosts, replicas in ((url, 3), (cluster.nats.url, 1), (url, 3)):
        await provisioning.provision(hosts, services.SERVICES, seconds=60.0)
        client = await nats.connect(cluster.nats.url, connect_timeout=5)
        for service in services.SERVICES:
            info = await client.jetstream().stream_info(streams.stream_name(service))
            assert info.config.num_replicas == replicas
        await client.close()


async def _is_complete(node: Nats) -> bool:
    """Return whether all replicas of the stream have all its messages."""
    client = await nats.connect(node.url, connect_timeout=5)
    try:
        info = await client.jetstream().stream_info(streams.stream_name("jobs"))
    except (nats.errors.Error, nats.js.errors.Error):
        return False
    finally:
        await client.close()
    cluster = info.cluster
    assert info.config.num_replicas == streams.CLUSTER_REPLICAS
    replicas = (cluster and cluster.replicas) or []
    return len(replicas) == streams.CLUSTER_REPLICAS - 1 and all(peer.current for peer in replicas)
