"""The parts that demonstrations break while a job runs, and how each comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dev.launcher.stack import Stack

WORKER = "demo-worker"
NATS_AWAY_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the system that can be broken."""

    title: str
    """What happens to it."""
    fail: Callable[[Stack], None]
    """Break it; returns when it is dead."""
    recover: Callable[[Stack], None]
    """Start it again. May raise `ServerFailed`."""
    away_seconds: float = 0.0
    """How long it stays away before it is started again."""


PARTS: Mapping[str, Part] = {
    "worker": Part(
        title="the worker is killed (SIGKILL)",
        fail=lambda stack: stack.kill(WORKER, None),
        recover=lambda stack: stack.start_process(WORKER, wait=False),
    ),
    "nats": Part(
        title=f"NATS is killed, and away for {NATS_AWAY_SECONDS:g} s",
        fail=lambda stack: stack.servers.nats.kill(),
        recover=lambda stack: stack.servers.nats.start(),
        away_seconds=NATS_AWAY_SECONDS,
    ),
    "postgres": Part(
        title="PostgreSQL is killed (SIGKILL)",
        fail=lambda stack: stack.servers.postgres.kill(),
        recover=lambda stack: stack.servers.postgres.start(),
    ),
    "jobs": Part(
        title="the jobs service is killed (SIGKILL)",
        fail=lambda stack: stack.kill("jobs", None),
        recover=lambda stack: stack.start_process("jobs", wait=False),
    ),
}
"""The parts by name."""
