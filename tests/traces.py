"""A trace backend for tests: takes spans by OTLP over HTTP, and returns them as trees."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

SAMPLED = "00-{trace_id}-{span_id}-01"
CLIENT_SPAN = "00f067aa0ba902b7"
"""The span of the test itself, the root of its trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A received span."""

    service: str
    name: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, object]


class Backend:
    """The spans that were received."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._bodies: list[bytes] = []
        self._lock = threading.Lock()

    def receive(self, body: bytes) -> None:
        """Keep an export."""
        with self._lock:
            self._bodies.append(body)

    @property
    def bodies(self) -> bytes:
        """Everything that was received, as it was sent."""
        with self._lock:
            return b"\n".join(self._bodies)

    def spans(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace, the oldest first."""
        with self._lock:
            bodies = list(self._bodies)
        found_spans = [span for body in bodies for span in _spans(body, bytes.fromhex(trace_id))]
        return sorted(found_spans, key=lambda span: span.started_ns)


def variables(backend: Backend) -> dict[str, str]:
    """Return the settings of a system that records only requests with the header `traceparent`."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.endpoint, "TRACE_RATIO": "0", "TRUST_TRACEPARENT": "true"}


def traceparent(trace_id: str) -> dict[str, str]:
    """Return the header of a request whose trace is recorded."""
    return {"traceparent": SAMPLED.format(trace_id=trace_id, span_id=CLIENT_SPAN)}


def path_to(spans: Sequence[Span], last: Span) -> list[str]:
    """Return `service: name` from the root to a span. Raises KeyError if the spans are no tree below the test's own span."""
    by_id = {span.span_id: span for span in spans}
    path = [last]
    while path[-1].parent_id != CLIENT_SPAN:
        path.append(by_id[path[-1].parent_id])
    return [f"{span.service}: {span.name}" for span in reversed(path)]


@contextlib.contextmanager
def backend() -> Iterator[Backend]:
    """Run a backend while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            received.receive(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - named by http.server
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received = Backend(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


def _spans(body: bytes, trace_id: bytes) -> Iterator[Span]:
    for resource in trace_service_pb2.ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(item.value.string_value for item in resource.resource.attributes if item.key == "service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                if span.trace_id == trace_id:
                    yield Span(
                        service=service,
                        name=span.name,
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        started_ns=span.start_time_unix_nano,
                        ended_ns=span.end_time_unix_nano,
                        attributes={
                            item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value")
                            for item in span.attributes
                        },
                    )
