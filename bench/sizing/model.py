"""The sizing: a sum of costs for each process, and the rate at which each limit is reached."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from bench.sizing import costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the system has to carry."""

    users: int
    jobs_per_second: float
    streams: int
    enables_per_second: float = 0.0
    handler_ms: float = 0.0
    """Processor time of the work itself, in the worker."""
    retention_days: float = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One database server, as you can buy it, and how far to load it."""

    cores: int = 64
    wal_bytes_per_second: float = 200.0 * costs.MIB
    disk_bytes: float = 8.0 * costs.TIB
    connections: int = 500
    usage: float = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one kind of process needs."""

    processors: float
    processes: int
    memory: float
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit, and which share of it the load uses."""

    name: str
    used: float
    """1.0: the limit is reached."""
    remedy: str


def processors(load: Load) -> Mapping[str, float]:
    """Return the processors that each kind of process keeps busy."""
    busy: defaultdict[str, float] = defaultdict(float)
    for rate, parts in ((load.jobs_per_second, costs.JOB_MS), (load.enables_per_second, costs.ENABLE_MS)):
        for name, milliseconds in parts.items():
            busy[name] += rate * milliseconds / 1e3
    busy["worker"] += load.jobs_per_second * load.handler_ms / 1e3
    busy["postgres"] += load.jobs_per_second * costs.DELETED_JOB_MS / 1e3
    reads = load.streams / costs.POSITIONS_PER_CALL / costs.POSITIONS_SECONDS
    for name, milliseconds in costs.POSITIONS_MS.items():
        busy[name] += reads * milliseconds / 1e3
    busy["gateway"] += load.streams / costs.STREAM_SECONDS * costs.STREAM_CONNECT_MS / 1e3
    busy["gateway"] += frames(load) * costs.FRAME_MS / 1e3
    return busy


def frames(load: Load) -> float:
    """Return the frames a second: pings, and the events of jobs whose owners have a stream open."""
    watched = min(1.0, load.streams / load.users)
    events = (load.jobs_per_second + load.enables_per_second) * costs.EVENTS_PER_JOB * watched
    return load.streams / costs.PING_SECONDS + events


def needs(load: Load, server: Server) -> Mapping[str, Need]:
    """Return what each kind of our processes needs. A process uses one processor, up to the usage of `server`."""
    needs_by_process = {}
    for name, busy in processors(load).items():
        if name not in costs.MEMORY:
            continue
        count = max(2, math.ceil(busy / server.usage))
        streams = load.streams if name == "gateway" else 0
        count = max(count, math.ceil(streams / costs.STREAMS_PER_PROCESS))
        needs_by_process[name] = Need(
            processors=busy,
            processes=count,
            memory=count * costs.MEMORY[name] + streams * costs.STREAM_MEMORY,
            connections=count * costs.CONNECTIONS[name],
        )
    return needs_by_process


def wal(load: Load) -> float:
    """Return the bytes of WAL a second, at most."""
    return load.jobs_per_second * costs.JOB_WAL + load.enables_per_second * costs.ENABLE_WAL


def disk(load: Load) -> float:
    """Return the bytes of finished jobs within their retention."""
    return load.jobs_per_second * load.retention_days * 86_400 * costs.JOB_DISK


def limits(load: Load, server: Server) -> list[Limit]:
    """Return all limits, the one that is reached first at the beginning."""
    connections = sum(need.connections for need in needs(load, server).values())
    reached_limits = [
        Limit(
            name="jobs.cleanup, deleted jobs a second",
            used=load.jobs_per_second / costs.DELETED_JOBS_PER_SECOND,
            remedy="a cleanup for each kind; shards",
        ),
        Limit(
            name="disk of finished jobs",
            used=disk(load) / server.disk_bytes,
            remedy="shorter retention of the kind; shards",
        ),
        Limit(name="WAL a second", used=wal(load) / server.wal_bytes_per_second, remedy="shards"),
        Limit(
            name="processors of PostgreSQL",
            used=processors(load)["postgres"] / (server.cores * server.usage),
            remedy="shards",
        ),
        Limit(name="connections to PostgreSQL", used=connections / server.connections, remedy="PgBouncer"),
    ]
    return sorted(reached_limits, key=lambda limit: -limit.used)


def shards(load: Load, server: Server) -> int:
    """Return the number of database servers, sharded by owner, for what only shards can remedy."""
    return max(1, math.ceil(max(limit.used for limit in limits(load, server) if "shard" in limit.remedy)))
