"""Spans by OpenTelemetry. Only `tracing.start` imports this module."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes as LinkAttributes

from chassis import errors, ids, logs
from chassis.tracing import Attributes, Kind, export, trace_id

if TYPE_CHECKING:
    from chassis.driver import Connection

MAX_TEXT = 1_000
"""Characters of a text that a span keeps, such as a statement."""
MAX_LINKS = 32
"""Links of a batch; further items have none."""
_LIMITS = SpanLimits(max_attributes=32, max_attribute_length=MAX_TEXT, max_links=MAX_LINKS, max_events=0)
_KINDS: dict[str, SpanKind] = {kind.name.lower(): kind for kind in SpanKind}
_FAULTS = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED"})
"""Statuses of our errors that are failures of the system, and not answers to the caller."""
_NOTHING: AbstractContextManager[None] = nullcontext()


class Spans:
    """The spans of a process."""

    def __init__(self, service: str, exporter: SpanExporter, *, ratio: float) -> None:
        resource = Resource.create(
            {
                "service.namespace": "repruv",
                "service.name": service,
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        )
        provider = TracerProvider(
            sampler=ParentBased(_Ratio(ratio)),
            resource=resource,
            shutdown_on_exit=False,
            id_generator=_Ids(),
            span_limits=_LIMITS,
        )
        self._export = export.Export(exporter)
        provider.add_span_processor(self._export)
        self._tracer = provider.get_tracer("repruv")
        logs.trace_id = lambda: trace_id(self.position())
        # A failed export is counted, and logged by `export`.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    @classmethod
    def exporting(cls, service: str, endpoint: str, *, headers: Mapping[str, str], ratio: float) -> Spans:
        """Return spans that are exported by OTLP over HTTP."""
        url = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(url, headers=headers, timeout=export.TIMEOUT_SECONDS)
        return cls(service, exporter, ratio=ratio)

    def span(self, name: str, kind: Kind, attributes: Attributes | None) -> AbstractContextManager[None]:
        """Record a part of the current span."""
        current = trace.get_current_span().get_span_context()
        if not current.trace_flags.sampled:
            return _NOTHING
        return self._start(name, kind, attributes, context.get_current(), ())

    def remote(
        self, name: str, parent: str, kind: Kind, attributes: Attributes | None, *, is_root: bool
    ) -> AbstractContextManager[None]:
        """Record a part of another process's span, or a new trace."""
        parent_context = trace.set_span_in_context(_remote(parent), Context()) if parent else Context()
        return self._start(name, kind, attributes, parent_context, ()) if parent or is_root else _NOTHING

    def use_position(self, traceparent: str) -> AbstractContextManager[None]:
        """Let spans be parts of this position."""
        return _current(_remote(traceparent))

    def batch(self, name: str, positions: Iterable[str]) -> AbstractContextManager[None]:
        """Record a part of the first position whose trace is recorded, with links to the others."""
        parents = sorted(filter(None, positions), key=_is_recorded, reverse=True)[: MAX_LINKS + 1]
        if not parents:
            return _NOTHING
        first, *others = map(_remote, parents)
        parent_context = trace.set_span_in_context(first, Context())
        links = [Link(other.get_span_context()) for other in others]
        return self._start(name, "internal", None, parent_context, links)

    def note(self, name: str, attributes: Attributes) -> None:
        """Add to the current span."""
        current = trace.get_current_span()
        if name:
            current.update_name(name)
        current.set_attributes(attributes)
        if "error.type" in attributes:
            current.set_status(Status(StatusCode.ERROR))

    def position(self) -> str:
        """Return the current position."""
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return ""
        return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags & 1:02x}"

    def connection(self) -> type[Connection]:
        """Return the class of connections that record statements."""
        # The gateway's image has no database driver.
        from chassis.tracing import sql

        return sql.Connection

    def stop(self, seconds: float) -> None:
        """Export what is queued."""
        logs.trace_id = str
        self._export.stop(seconds)

    @contextmanager
    def _start(
        self, name: str, kind: Kind, attributes: Attributes | None, parent_context: Context, links: Sequence[Link]
    ) -> Iterator[None]:
        span = self._tracer.start_span(name, parent_context, _KINDS[kind], attributes, links)
        try:
            with _current(span):
                yield
        except BaseException as error:
            # Never its text: it may hold what a user has entered.
            if isinstance(error, errors.Error):
                span.set_attribute("error.type", error.code)
            else:
                span.set_attribute("error.type", type(error).__qualname__)
            if error.status in _FAULTS if isinstance(error, errors.Error) else isinstance(error, Exception):
                span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()


@contextmanager
def _current(span: trace.Span) -> Iterator[None]:
    """Make a span the current one. Log lines get its trace as the id of their request, unless they have one."""
    token = context.attach(trace.set_span_in_context(span))
    named = None
    if not logs.request_id.get():
        named = logs.request_id.set(f"{span.get_span_context().trace_id:032x}")
    try:
        yield
    finally:
        if named is not None:
            logs.request_id.reset(named)
        context.detach(token)


def _is_recorded(traceparent: str) -> bool:
    return bool(int(traceparent[53:]) & TraceFlags.SAMPLED)


def _remote(traceparent: str) -> NonRecordingSpan:
    """Return a span of another process; `traceparent` is valid."""
    return NonRecordingSpan(
        SpanContext(
            int(traceparent[3:35], 16),
            int(traceparent[36:52], 16),
            is_remote=True,
            trace_flags=TraceFlags(int(traceparent[53:])),
        )
    )


class _Ids(IdGenerator):
    """Ids of traces are UUIDv7: an operator reads the time of a trace, and of a request, from its id."""

    def generate_trace_id(self) -> int:
        return ids.uuid7().int

    def generate_span_id(self) -> int:
        return secrets.randbits(63) + 1

    def is_trace_id_random(self) -> bool:
        """Return whether the last 56 bits are random (W3C Trace Context, level 2)."""
        return True


class _Ratio(Sampler):
    """Records a share of all traces, by the last 56 bits of their ids: the bits before them are not random."""

    def __init__(self, ratio: float) -> None:
        self._bound = round(ratio * (1 << 56))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: LinkAttributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        is_recorded = trace_id & ((1 << 56) - 1) < self._bound
        return SamplingResult(Decision.RECORD_AND_SAMPLE if is_recorded else Decision.DROP, attributes)

    def get_description(self) -> str:
        return "share of traces"
