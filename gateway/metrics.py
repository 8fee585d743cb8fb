"""Prometheus metrics of the gateway, over all its worker processes."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import Collector

from gateway import workers

REQUESTS = Counter("http_requests", "Answered requests.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time to the first byte of the answer.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
REQUESTS_REFUSED = Counter("http_requests_refused", "Requests that were refused because the system is overloaded.")
STREAMS = Gauge("stream_connections", "Open event streams.", multiprocess_mode="livesum")
STREAMS_OPENED = Counter("stream_opened", "Opened event streams by how they started.", ["start"])
STREAMS_CLOSED = Counter("stream_closed", "Closed event streams by reason.", ["reason"])
STREAM_FRAMES = Counter("stream_frames", "Frames sent to streams.", ["event"])
STREAM_COALESCED = Counter("stream_coalesced", "Progress frames that a newer one replaced before they were sent.")
STREAM_FEEDS = Gauge(
    "stream_feeds", "Owners whose events are remembered for their streams.", multiprocess_mode="livesum"
)
TASKS = Gauge("event_loop_tasks", "Tasks of the event loop.", multiprocess_mode="livesum")
STREAM_DELIVERY_SECONDS = Histogram(
    "stream_delivery_seconds",
    "Time between a transition of a job and its frames, by the clocks of the jobs service and of this process.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SESSION_CACHE = Counter("session_cache_lookups", "Lookups of sessions by whether they were cached.", ["result"])
SESSION_CACHE_HITS = SESSION_CACHE.labels("hit")
SESSION_CACHE_MISSES = SESSION_CACHE.labels("miss")
_FAILURES = (500, 503, 504)
"""All statuses from 500 that our responses have."""
STREAM_GAPS = Counter("stream_gaps", "Reads of events that a feed had missed.")


def text() -> bytes:
    """Return the metrics of all worker processes. Those of the garbage collector exist only with a single process."""
    registry = REGISTRY
    if workers.is_one_of_several():
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Processes())
    return generate_latest(registry)


class _Processes(Collector):
    """Processor time, memory and files of each worker process, which `prometheus_client` has for a single process only."""

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, pid in workers.pids().items():
            for metric in ProcessCollector(pid=functools.partial(int, pid), registry=None).collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {"worker": number}, sample.value)
        return families.values()


def expect(method: str, route: str) -> None:
    """Create the counters of failed requests: Prometheus sees no increase in a counter that appears with its first event."""
    for status in _FAILURES:
        REQUESTS.labels(method, route, status)


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request; `seconds` is the time to the first byte."""
    _requests(method, route, status).inc()
    _request_seconds(route).observe(seconds)


def sent(event: str) -> None:
    """Count a frame."""
    _frames(event).inc()


@functools.cache
def _frames(event: str) -> Counter:
    # Looking up a label costs more than counting.
    return STREAM_FRAMES.labels(event)


@functools.cache
def _requests(method: str, route: str, status: int) -> Counter:
    expect(method, route)
    return REQUESTS.labels(method, route, status)


@functools.cache
def _request_seconds(route: str) -> Histogram:
    return REQUEST_SECONDS.labels(route)
