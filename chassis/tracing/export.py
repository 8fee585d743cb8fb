"""The queue of ended spans, and the thread that exports them. Neither delays or fails what the spans record."""

from __future__ import annotations

import logging
import threading
from collections import deque

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import Counter

logger = logging.getLogger(__name__)

MAX_QUEUED = 2_048
"""Spans of a process that wait for their export; further ones are dropped. One takes about 3 KiB."""
BATCH = 512
EXPORT_SECONDS = 1.0
"""Time between two exports of fewer than `BATCH` spans."""
TIMEOUT_SECONDS = 5.0
"""Seconds of an export, retries included."""
WARN_EVERY = 60
"""Failed exports for which one line is logged."""

EXPORTED = Counter("trace_spans_exported", "Spans that the trace backend has accepted.")
DROPPED = Counter("trace_spans_dropped", "Spans that were not exported.", ["reason"])
QUEUE_FULL, EXPORT_FAILED = (DROPPED.labels(reason) for reason in ("queue_full", "export_failed"))


class Export(SpanProcessor):
    """Exports spans in batches. A span that finds the queue full is dropped, and so is a batch that the backend refuses."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._queue: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._is_stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="trace export", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: object = None) -> None:
        """Do nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._queue) >= MAX_QUEUED:
            QUEUE_FULL.inc()
            return
        self._queue.append(span)
        if len(self._queue) == BATCH:
            self._wake.set()

    def stop(self, seconds: float) -> None:
        """Export what is queued, within `seconds`."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(seconds)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.wait(EXPORT_SECONDS)
            self._wake.clear()
            while self._queue:
                self._export([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])

    def _export(self, batch: list[ReadableSpan]) -> None:
        try:
            is_accepted = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - the thread must continue
            logger.debug("export of spans failed", extra={"cause": repr(error)[:200]})
            is_accepted = False
        if is_accepted:
            EXPORTED.inc(len(batch))
            return
        EXPORT_FAILED.inc(len(batch))
        if self._failures % WARN_EVERY == 0:
            logger.warning(
                "spans are not exported: the trace backend does not accept them", extra={"count": len(batch)}
            )
        self._failures += 1
