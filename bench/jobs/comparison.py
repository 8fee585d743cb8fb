"""The peers. Each gets an empty database on a server with the same settings as ours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench import cpu
from bench.jobs import installed
from bench.jobs.measured_engine import MeasuredEngine
from bench.jobs.redis import SETTINGS as REDIS_SETTINGS
from bench.jobs.redis import Redis
from dev.embedded import Postgres
from dev.embedded.postgres import SETTINGS as POSTGRES_SETTINGS

POSTGRES = f"PostgreSQL 18, fsync {POSTGRES_SETTINGS['fsync']}, as ours"
REDIS = f"Redis 6.2, {' '.join(REDIS_SETTINGS)}"
PASSWORD = "bench"  # noqa: S105 - of a server that lives for minutes, on 127.0.0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One row of the table."""

    key: str
    """Its name on the command line, and of its script and lock file. Rows of one engine share it."""
    packages: Sequence[str]
    store: str
    settings: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return installed.versions(self.key, *self.packages[:1])


PEERS = (
    Peer(
        key="procrastinate",
        packages=["procrastinate", "psycopg"],
        store=POSTGRES,
        settings="asyncio, concurrency 20, LISTEN/NOTIFY (default)",
    ),
    Peer(key="awa", packages=["awa-pg"], store=POSTGRES, settings="50 workers a queue, its storage of 0.6 (defaults)"),
    Peer(
        key="awa",
        packages=["awa-pg"],
        store=POSTGRES,
        settings="50 workers a queue, its storage of 0.5, as after an upgrade",
        environment={"BENCH_STORAGE": "canonical"},
    ),
    Peer(
        key="dbos",
        packages=["dbos", "psycopg"],
        store=POSTGRES,
        settings="a queue without limits, polled each 1 s (defaults)",
    ),
    Peer(
        key="dbos",
        packages=["dbos", "psycopg"],
        store=POSTGRES,
        settings="a queue without limits, polled each 20 ms",
        environment={"BENCH_POLL_SECONDS": "0.02"},
    ),
    Peer(
        key="celery",
        packages=["celery", "redis"],
        store=REDIS,
        settings="prefork, a process a processor (default), acks_late, prefetch 64, results in Redis",
    ),
    Peer(
        key="arq",
        packages=["arq", "redis", "hiredis"],
        store=REDIS,
        settings="max_jobs 20, polled each 0.5 s (default)",
    ),
    Peer(
        key="arq",
        packages=["arq", "redis", "hiredis"],
        store=REDIS,
        settings="max_jobs 20, polled each 20 ms",
        environment={"BENCH_POLL_SECONDS": "0.02"},
    ),
)


@contextlib.contextmanager
def ready(peer: Peer, directory: Path) -> Iterator[MeasuredEngine]:
    """Start the servers of the peer, empty. Raises `installed.Missing`, `ServerFailed`, or the errors of its setup."""
    python = installed.environment(peer.key) / "bin" / "python"
    engine = Redis(directory) if peer.store == REDIS else Postgres(directory, password=PASSWORD)
    with engine.temporary():
        target = MeasuredEngine(
            command=[python, installed.PEERS / f"{peer.key}_bench.py"],
            environment={
                **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
                "BENCH_DATABASE_URL" if isinstance(engine, Postgres) else "BENCH_REDIS_URL": engine.url,
                **peer.environment,
            },
            directory=directory,
            servers=lambda: {engine.name: cpu.tree(engine.pid)},
            checkpoint=lambda: checkpoint(engine.url) if isinstance(engine, Postgres) else None,
        )
        target.run("setup")
        yield target


def checkpoint(url: str) -> None:
    """Run a checkpoint, so that no measurement pays for an earlier one."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as conn:
        conn.execute("CHECKPOINT")
