"""The Prometheus metrics of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OUTCOMES = ("completed", "failed", "cancelled", "released", "snoozed", "waiting")
BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0)


class Metrics:
    """The metrics of one worker in their own registry."""

    def __init__(
        self, kinds: Iterable[str], *, held_jobs: Callable[[], float], claim_loop_seconds: Callable[[], float]
    ) -> None:
        """`claim_loop_seconds` returns the seconds since the last iteration of the claim loop."""
        self.registry = CollectorRegistry()
        claimed = Counter("jobs_claimed", "Claimed jobs.", ["kind"], registry=self.registry)
        finished = Counter(
            "jobs_finished", "Attempts whose outcome was stored.", ["kind", "outcome"], registry=self.registry
        )
        lost = Counter("jobs_lost", "Attempts that lost their lease.", ["kind"], registry=self.registry)
        seconds = Histogram(
            "jobs_run_seconds", "Duration of handlers.", ["kind"], buckets=BUCKETS, registry=self.registry
        )
        waited = Histogram(
            "jobs_wait_seconds",
            "Time between the submit, or the time for which it was planned, and the first attempt.",
            ["kind"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        Gauge("jobs_held", "Jobs that the worker holds.", registry=self.registry).set_function(held_jobs)
        Gauge(
            "claim_loop_seconds", "Seconds since the last iteration of the claim loop.", registry=self.registry
        ).set_function(claim_loop_seconds)
        self.by_kind = {
            kind: KindMetrics(
                claimed=claimed.labels(kind),
                finished={outcome: finished.labels(kind, outcome) for outcome in OUTCOMES},
                lost=lost.labels(kind),
                seconds=seconds.labels(kind),
                waited=waited.labels(kind),
            )
            for kind in kinds
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KindMetrics:
    """The metrics of one kind. Looking up labels costs more than counting, so it happens once."""

    claimed: Counter
    finished: dict[str, Counter]
    lost: Counter
    seconds: Histogram
    waited: Histogram
