"""`/healthz` and `/metrics` of a process. A thread serves them, so they answer while the event loop is blocked."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis import addresses

logger = logging.getLogger(__name__)

CACHE_SECONDS = 5.0
"""How long a measurement is reused, whatever the number of scrapers."""
MEASURE_SECONDS = 4.0
"""The most time of a measurement; a scrape of Prometheus may take 10 s."""
POLL_SECONDS = 5.0
"""The longest time until the thread notices that it must stop. On Linux it notices at once."""


class Measurement:
    """Metrics that are measured when they are scraped, at most once in `CACHE_SECONDS`.

    A failed measurement has no values: old ones would hide an outage.
    """

    def __init__(self, name: str, measure: Callable[[], Awaitable[Iterable[Metric]]]) -> None:
        """`measure` runs in the event loop that constructs this object."""
        self.name = name
        self._measure = measure
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._measured: tuple[Metric, ...] = ()
        self._measured_at = -CACHE_SECONDS

    def metrics(self) -> Sequence[Metric]:
        """Return the metrics, none after a failure; called by threads of the exposition."""
        with self._lock:
            if time.monotonic() - self._measured_at >= CACHE_SECONDS:
                self._measured = self._measure_now()
                self._measured_at = time.monotonic()
            return self._measured

    def _measure_now(self) -> tuple[Metric, ...]:
        try:
            running = asyncio.run_coroutine_threadsafe(self._within_deadline(), self._loop)
            return tuple(running.result(MEASURE_SECONDS + 1.0))
        except (Exception, concurrent.futures.CancelledError) as error:  # noqa: BLE001 - a scrape always gets an answer
            logger.warning("measurement failed", extra={"measurement": self.name, "cause": repr(error)[:200]})
            return ()

    async def _within_deadline(self) -> Iterable[Metric]:
        async with asyncio.timeout(MEASURE_SECONDS):
            return await self._measure()


class _Measurements(Collector):
    """The metrics of several measurements, and whether each succeeded."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._measurements = measurements

    def collect(self) -> Iterator[Metric]:
        success = GaugeMetricFamily("measurement_success", "Whether a measurement succeeded.", labels=["measurement"])
        # At once: without a database each takes its deadline, and a scrape must end before Prometheus gives up.
        with concurrent.futures.ThreadPoolExecutor(len(self._measurements) or 1, "measurement") as threads:
            measured = list(threads.map(Measurement.metrics, self._measurements))
        for measurement, metrics in zip(self._measurements, measured, strict=True):
            success.add_metric([measurement.name], bool(metrics))
            yield from metrics
        yield success


def registry(*measurements: Measurement) -> CollectorRegistry:
    new = CollectorRegistry()
    new.register(_Measurements(measurements))
    return new


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an error in a request; by default it would be printed, in no format of ours."""
        if isinstance(sys.exception(), OSError):
            logger.info("a probe went away before its answer", extra={"address": str(client_address)})
        else:
            logger.exception("a probe failed", extra={"address": str(client_address)})


@contextlib.asynccontextmanager
async def serving(
    listen: str, *registries: CollectorRegistry, stalled: Callable[[], Sequence[str]] = tuple
) -> AsyncIterator[int]:
    """Serve the registry of the process and `registries` on `listen` (host:port; port 0 for any) and yield the port.

    Serve nothing and yield 0 if `listen` is empty. `stalled` names the loops that make `/healthz` answer 503. Raises OSError
    when the port is taken.
    """
    if not listen:
        yield 0
        return

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            match self.path:
                case "/metrics":
                    text = b"".join(map(generate_latest, (REGISTRY, *registries)))
                    self._answer(HTTPStatus.OK, text, CONTENT_TYPE_LATEST)
                case "/healthz" if loops := stalled():
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"stalled: {', '.join(loops)}\n".encode())
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

    server = _Server(addresses.host_and_port(listen), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="probes", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        # Wakes the thread, which `shutdown` waits for. Other systems than Linux refuse it.
        with contextlib.suppress(OSError):
            server.socket.shutdown(socket.SHUT_RDWR)
        # The executor of the loop may have no thread left.
        await asyncio.get_running_loop().run_in_executor(concurrent.futures.ThreadPoolExecutor(1), server.shutdown)
        server.server_close()
