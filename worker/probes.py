"""`/healthz` and `/metrics` of a worker. A thread serves them, so they answer while the event loop is blocked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from worker.liveness import Liveness


class HasRegistry(Protocol):
    """An object with a registry of metrics."""

    registry: CollectorRegistry


@contextlib.contextmanager
def serving(listen: str, liveness: Liveness, metrics: HasRegistry) -> Iterator[int]:
    """Serve on `listen` (host:port; 0 for any free port) and yield the port. Raises OSError when the port is taken."""
    host, _, port = listen.rpartition(":")

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            match self.path:
                case "/metrics":
                    self._answer(HTTPStatus.OK, generate_latest(metrics.registry), CONTENT_TYPE_LATEST)
                case "/healthz" if stalled := liveness.stalled:
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"stalled: {', '.join(stalled)}\n".encode())
                case "/healthz":
                    self._answer(HTTPStatus.OK, b"ok\n")
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, b"not found\n")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - named by http.server
            """Log nothing: a probe comes every few seconds."""

    server = ThreadingHTTPServer((host, int(port)), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5}, name="probes", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
