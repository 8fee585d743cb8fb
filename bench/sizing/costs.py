"""What one of each thing costs. Every figure was measured; the comment names the page or the command that shows it."""

from __future__ import annotations

from collections.abc import Mapping

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

JOB_MS: Mapping[str, float] = {"jobs": 0.36, "postgres": 0.22, "worker": 0.11, "nats": 0.02}
"""Processor time of a job without work of its own, by process: docs/jobs-engine.md, `make bench-jobs ARGS="--only repruv"`."""
JOB_WAL = 5.6 * KIB
"""At most: events and outbox rows 3.4, the job and its attempt 2.2: docs/performance.md, `make bench ARGS=budget`."""
JOB_DISK = 2_394.0
"""A finished job with its attempt, its events and all indexes: `python -m bench.jobs.stored`."""
DELETED_JOB_MS = 0.053
DELETED_JOBS_PER_SECOND = 1_000 / (1_000 * DELETED_JOB_MS / 1e3 + 0.05)
"""jobs.cleanup deletes one batch of 1,000 after the other, with a pause of 0.05 s: docs/decisions/0049,
`python -m bench.jobs.retention`."""

ENABLE_MS: Mapping[str, float] = {
    "postgres": 3.3,
    "jobs": 3.0,
    "demo": 2.3,
    "worker": 2.3,
    "gateway": 1.3,
    "nats": 0.8,
    "auth": 0.1,
}
"""Processor time of an enable at 100/s, whose session is cached: docs/performance.md, `make bench ARGS=monolith`."""
ENABLE_WAL = 15.2 * KIB

STREAM_MEMORY = 21.8 * KIB
STREAM_CONNECT_MS = 1.7
FRAME_MS = 0.1
"""5,000 events a second take half a processor: docs/streams.md, `make bench-stream ARGS="--only repruv"`. A ping is counted as
a frame."""
STREAM_SECONDS = 600.0
PING_SECONDS = 13.5
STREAMS_PER_PROCESS = 50_000
POSITIONS_SECONDS, POSITIONS_PER_CALL = 2.0, 500
POSITIONS_MS: Mapping[str, float] = {"postgres": 2.13, "jobs": 1.62}
"""A read of 500 last sequences: `python -m bench.jobs.stored`."""
EVENTS_PER_JOB = 3
"""Submitted, started, ended."""

MEMORY: Mapping[str, int] = dict.fromkeys(("auth", "demo", "jobs", "worker", "gateway"), 138 * MIB)
"""Resident, without streams, at most: docs/kubernetes.md."""
CONNECTIONS: Mapping[str, int] = {"auth": 16, "demo": 20, "jobs": 30, "worker": 8, "gateway": 0}
"""Of one process: docs/operations.md."""
