"""Disturbs what connects the processes: the network, the streams of NATS, the snapshots of PostgreSQL."""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections.abc import Mapping

import httpx
import psycopg

from chassis import streams
from dev.embedded import Nats
from dev.embedded.server import NotReady
from tests.acceptance.system import System
from tests.chaos import leaks
from tests.chaos.disks import Disk
from tests.chaos.leaks import STREAMS
from tests.chaos.nemesis import Nemesis
from tests.chaos.proxy import Proxies, Proxy

STANDBYS = {"postgres": ("postgres-standby",), "nats": ("nats-2", "nats-3")}
WEIGHTS = {"postgres": 5, "jobs": 5, "nats": 3, "demo": 3, "auth": 3, "gateway": 4}
SNAPSHOT_SECONDS = 20.0
FULL_BYTES = 20_000
DISK_SECONDS = 4.0


class Network:
    """Disturbs one connection at a time; the nemesis decides and records."""

    def __init__(
        self,
        system: System,
        proxies: Proxies,
        disks: Mapping[str, Disk],
        nemesis: Nemesis,
        *,
        spares_engines: bool = False,
    ) -> None:
        """With `spares_engines` only connections are disturbed: the engines are not single ones."""
        self._spares_engines = spares_engines
        self._system = system
        self._proxies = proxies
        self._disks = disks
        self._nemesis = nemesis
        self._random = nemesis.random
        self._loop = asyncio.get_running_loop()

    async def rage(self, seconds: float) -> None:
        """Disturb for `seconds`; once: a snapshot, streams full, one deleted, NATS without its store, disks full."""
        ends_at = self._loop.time() + seconds
        if self._spares_engines:
            await self._disturb_until(ends_at)
            return
        await asyncio.gather(
            self._disturb_until(ends_at),
            self._nemesis.after(seconds * 0.1, self._hold_snapshot),
            self._nemesis.after(seconds * 0.3, self._fill_streams),
            self._nemesis.after(seconds * 0.5, self._delete_stream),
            self._nemesis.after(seconds * 0.65, self._wipe_nats),
            *(
                self._nemesis.after(seconds * share, functools.partial(self._fill_disk, name))
                for name, share in {"nats": 0.4, "postgres": 0.8}.items()
                if name in self._disks
            ),
        )

    async def _disturb_until(self, ends_at: float) -> None:
        while self._loop.time() < ends_at:
            name = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            hosts = [host for host in (name, *STANDBYS.get(name, ())) if host in self._proxies.all]
            await self._disturb(self._random.choice([proxy for host in hosts for proxy in self._proxies.all[host]]))
            await asyncio.sleep(self._random.uniform(0.1, 2.0))

    async def _disturb(self, proxy: Proxy) -> None:
        seconds = self._random.choice([0.5, 1.5, 4.0, 8.0])
        deeds = ["latency", "loss", "throttle", "half-open", "reset", "refuse"]
        deed = self._random.choice(
            [*deeds, "lost commits", "lost commits"] if proxy.name.startswith("postgres") else deeds
        )
        self._nemesis.note(f"connections to {proxy.name} at {proxy.target}: {deed} for {seconds:g} s")
        match deed:
            case "latency":
                proxy.latency = self._random.choice([0.02, 0.1, 0.4])
            case "loss":
                proxy.loss = 0.2
            case "throttle":
                proxy.bytes_per_second = 50_000
            case "half-open":
                proxy.is_half_open = True
            case "refuse":
                proxy.refuses = True
                self._proxies.reset(proxy)
            case "reset":
                self._proxies.reset(proxy)
            case "lost commits":
                proxy.lost_commits = self._random.choice([1, 5, 20])
        await asyncio.sleep(seconds)
        if deed == "half-open" and self._random.random() < 0.5:
            self._proxies.reset(proxy)
        proxy.restore()

    async def _hold_snapshot(self) -> None:
        """Keep a snapshot open, as pg_dump does; it ends early if PostgreSQL is restarted."""
        self._nemesis.note(f"a snapshot is open for {SNAPSHOT_SECONDS:g} s")
        try:
            async with await psycopg.AsyncConnection.connect(self._system.superuser_url(), connect_timeout=5) as conn:
                await conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                await conn.execute("SELECT 1")
                await asyncio.sleep(SNAPSHOT_SECONDS)
                await conn.rollback()
        except psycopg.OperationalError:
            self._nemesis.note("the snapshot was closed by a restart")

    async def _fill_streams(self) -> None:
        """Let each stream be full for a while: it drops its oldest events."""
        async with self._nemesis.disturbed["nats"], await leaks.connect(self._system) as client:
            js = client.jetstream(timeout=10.0)
            before = {name: (await js.stream_info(streams.stream_name(name))).config for name in STREAMS}
            self._nemesis.note("all streams are full")
            for config in before.values():
                await js.update_stream(config.evolve(max_bytes=FULL_BYTES))
            await asyncio.sleep(4.0)
            for config in before.values():
                await js.update_stream(config)
            self._nemesis.note("streams have room again")

    async def _delete_stream(self) -> None:
        """Delete one stream with its consumers from the store: no account may delete one."""
        name = streams.stream_name(self._random.choice(STREAMS))
        async with self._nemesis.disturbed["nats"]:
            self._nemesis.note(f"the stream {name} is deleted")
            await self._system.stop("nats")
            (directory,) = self._system.servers["nats"].home().rglob(f"streams/{name}")
            await asyncio.to_thread(shutil.rmtree, directory)
            await self._system.start("nats")

    async def _wipe_nats(self) -> None:
        async with self._nemesis.disturbed["nats"]:
            self._nemesis.note("nats lost its store")
            await self._system.erase("nats")
            await self._system.start("nats")

    async def _fill_disk(self, name: str) -> None:
        """Leave no room on the disk of an engine for a while. An engine that gave up is restarted, as an operator does."""
        async with self._nemesis.disturbed[name]:
            self._nemesis.note(f"the disk of {name} is full for {DISK_SECONDS:g} s")
            await asyncio.to_thread(self._disks[name].fill)
            try:
                await asyncio.sleep(DISK_SECONDS)
            finally:
                await asyncio.to_thread(self._disks[name].empty)
            if not await self._is_healthy(name):
                self._nemesis.note(f"{name} is restarted after its disk was full")
                await self._system.stop(name)
                await self._system.start(name)

    async def _is_healthy(self, name: str) -> bool:
        """Probe a process as the health check of docker-compose.yml does."""
        server = self._system.servers[name]
        try:
            if isinstance(server, Nats):
                async with httpx.AsyncClient(timeout=5.0) as client:
                    return (await client.get(f"{server.monitor_url}/healthz")).is_success
            await asyncio.to_thread(server.probe)
        except (NotReady, httpx.TransportError):
            return False
        return True
