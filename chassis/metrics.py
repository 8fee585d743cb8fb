"""Prometheus metrics that every process has, in the registry of the process.

Names follow Prometheus: base units, `_total` for counters. Every label has a bounded set of values: names in our code, states,
or job kinds (`kind_label`). No label holds an id, an address, a path or a text of a caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from chassis import tls

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_KINDS = 200
"""Job kinds that get a label of their own; the others count as `other`."""

SERVER_CALLS = Counter(
    "grpc_server_handled", "Calls that this server has answered.", ["grpc_service", "grpc_method", "grpc_code"]
)
SERVER_SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "Time until the answer to a call, without streams.",
    ["grpc_service", "grpc_method"],
    buckets=LATENCY_BUCKETS,
)
CLIENT_CALLS = Counter(
    "grpc_client_handled", "Calls of this client that have ended.", ["grpc_service", "grpc_method", "grpc_code"]
)
CLIENT_SECONDS = Histogram(
    "grpc_client_handling_seconds",
    "Time until a call of this client has ended, with retries and without streams.",
    ["grpc_service", "grpc_method"],
    buckets=LATENCY_BUCKETS,
)
LOOP_LAG = Histogram(
    "event_loop_lag_seconds", "Delay of a timer of the event loop, measured every two seconds.", buckets=LATENCY_BUCKETS
)
LOOP_FAILURES = Counter("background_loop_failures", "Background loops that raised and were restarted.", ["loop"])
POOL_CONNECTIONS = Gauge(
    "postgres_pool_connections",
    "Connections checked out of a pool. Up to four idle ones stay checked out.",
    ["engine", "pool"],
)
POOL_SIZE = Gauge("postgres_pool_max_connections", "The most connections of a pool.", ["engine", "pool"])
POSTGRES_UNAVAILABLE = Counter(
    "postgres_unavailable", "Errors because PostgreSQL or a connection was not available.", ["cause"]
)
# Prometheus sees no increase in a counter that appears with its first event: labels that alerts watch exist from the start.
PG_POOL_TIMEOUT, PG_STATEMENT_TIMEOUT, PG_UNREACHABLE, PG_READ_ONLY, PG_LOST = (
    POSTGRES_UNAVAILABLE.labels(cause)
    for cause in ("pool_timeout", "statement_timeout", "unreachable", "read_only", "lost")
)
NATS_CONNECTED = Gauge("nats_connected", "Whether NATS is connected.", multiprocess_mode="livemin")
NATS_CONNECTS = Counter("nats_connects", "Connections to NATS that were opened.")
NATS_STREAM_BYTES = Gauge("nats_stream_bytes", "Bytes in a stream.", ["stream"])
NATS_STREAM_MAX_BYTES = Gauge("nats_stream_max_bytes", "The most bytes of a stream.", ["stream"])
NATS_CONSUMER_PENDING = Gauge(
    "nats_consumer_pending_messages", "Messages that a consumer has not received or not acknowledged.", [
        "stream", "consumer",
    ],
)  # fmt: skip
NATS_STORE_FAILURES = Counter(
    "nats_stream_store_failures",
    "Events that a stream did not store although NATS was connected. They stay in the outbox.",
    ["stream"],
)
NATS_DROPPED = Counter("nats_messages_dropped", "Events that were dropped after failing repeatedly.", ["stream"])
CERTIFICATE_EXPIRY = Gauge(
    "tls_certificate_expiry_timestamp_seconds",
    "When the certificate of this process expires.",
    multiprocess_mode="livemin",
)


def kind_label() -> Callable[[str], str]:
    """Return a function that maps job kinds to labels: the first `MAX_KINDS` to themselves, all others to `other`."""
    kinds: set[str] = set()

    def label(kind: str) -> str:
        if kind in kinds:
            return kind
        if len(kinds) >= MAX_KINDS:
            return "other"
        kinds.add(kind)
        return kind

    return label


def note_certificate(certificate: tls.Certificate | None) -> None:
    """Export when the certificate of this process expires."""
    if certificate is not None:
        CERTIFICATE_EXPIRY.set(certificate.material().expires_at)


class Calls:
    """The metrics of one rpc. Looking up labels costs more than counting, so it happens at the first call."""

    __slots__ = ("_all_seconds", "_by_code", "_calls", "_labels", "_seconds")

    def __init__(self, calls: Counter, seconds: Histogram, service: str, method: str) -> None:
        self._calls = calls
        self._all_seconds = seconds
        self._labels = (service, method)
        self._seconds: Histogram | None = None
        self._by_code: dict[str, Counter] = {}

    def record_end(self, code: str, started: float | None = None) -> None:
        """Count a call by its status; `started` is the `time.perf_counter` of its start, None for a stream."""
        if code not in self._by_code:
            self._by_code[code] = self._calls.labels(*self._labels, code)
        self._by_code[code].inc()
        if started is not None:
            if self._seconds is None:
                self._seconds = self._all_seconds.labels(*self._labels)
            self._seconds.observe(time.perf_counter() - started)


OK = "OK"
CANCELLED = "CANCELLED"
INTERNAL = "INTERNAL"
"""Names of gRPC statuses."""
