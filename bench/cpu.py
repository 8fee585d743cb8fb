"""Processor time of our processes: shows what a request costs and which process saturates first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dev import Stack


def seconds(stack: Stack) -> dict[str, float]:
    """Return the processor seconds of each process, all replicas included. Empty without /proc."""
    if not Path("/proc/self/stat").exists():
        return {}
    postgres = stack.servers.postgres.pid
    pids: dict[str, Sequence[int | None]] = {
        **{name: [*stack.pids(name)] for name in stack.names},
        "postgres": tree(postgres),
        "nats": [stack.servers.nats.pid],
    }
    return {
        name: processor_seconds(pid for pid in process_ids if pid is not None) for name, process_ids in pids.items()
    }


def tree(pid: int | None) -> list[int]:
    """Return a process and its children (PostgreSQL has one per connection), or an empty list for None."""
    return [] if pid is None else [pid, *_children(pid)]


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor seconds of processes and of their ended children."""
    return sum(sum(map(int, _fields(pid)[11:15])) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _children(parent: int | None) -> list[int]:
    running = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in running if (fields := _fields(pid)) and int(fields[1]) == parent]


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command name: [0] state, [1] parent, [11:15] times."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []  # it has ended
