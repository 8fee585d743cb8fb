"""Prometheus counters of a replica of the jobs service."""

from __future__ import annotations

import functools

from prometheus_client import Counter

from chassis import metrics
from services.jobs.domain import Job, State

kind_label = metrics.kind_label()

TRANSITIONS = Counter("jobs_transitions", "Committed transitions by the state they lead to.", ["kind", "state"])
RESCUED = Counter("jobs_rescued", "Jobs taken from workers whose lease has expired.")
FENCED_WRITES = Counter("jobs_fenced_writes", "Writes refused because their attempt had lost its lease.")


def count_transition(job: Job) -> None:
    """Count a committed transition."""
    _transitions(kind_label(job.spec.kind), job.state).inc()


@functools.cache
def _transitions(kind: str, state: str) -> Counter:
    # Looking up labels costs more than counting. Prometheus sees no increase in a counter that appears with its first event.
    TRANSITIONS.labels(kind, State.FAILED)
    return TRANSITIONS.labels(kind, state)
