"""Traces: spans of what happens in a request and in the jobs that follow from it, exported by OTLP.

Without `start` nothing is recorded: every function here returns at once, and OpenTelemetry is not imported.

A position in a trace is a W3C `traceparent`, such as `00-<trace id>-<span id>-01`; an empty text is no position. It crosses
processes in the metadata of calls, in the headers of messages, and in the rows of jobs and outboxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from chassis.driver import Connection
    from chassis.tracing.spans import Spans

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]


_tracer: Spans | None = None
_NATS = {"messaging.system": "nats"}
_NOTHING: AbstractContextManager[None] = nullcontext()


def start(service: str, endpoint: str, *, headers: Mapping[str, str], ratio: float) -> None:
    """Record spans of this process, and export them to `endpoint`/v1/traces with `headers`.

    `ratio` is the share of traces that is recorded, unless another process has decided.
    """
    global _tracer
    # Only here: an import takes memory and time.
    from chassis.tracing import spans

    _tracer = spans.Spans.exporting(service, endpoint, headers=headers, ratio=ratio)


def stop(seconds: float = 2.0) -> None:
    """Export what is recorded, within `seconds`, and record nothing more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.stop(seconds)


def is_on() -> bool:
    """Return whether this process records spans."""
    return _tracer is not None


def span(name: str, kind: Kind = "internal", attributes: Attributes | None = None) -> AbstractContextManager[None]:
    """Record what happens in the context as a part of the current span; nothing without a trace."""
    return _NOTHING if _tracer is None else _tracer.span(name, kind, attributes)


def remote(name: str, parent: str, kind: Kind, attributes: Attributes | None = None) -> AbstractContextManager[None]:
    """Record what happens in the context as a part of a span of another process; nothing without a parent."""
    return _NOTHING if _tracer is None or not parent else _tracer.remote(name, parent, kind, attributes, is_root=False)


def root(name: str, parent: str, kind: Kind, attributes: Attributes | None = None) -> AbstractContextManager[None]:
    """Record what happens in the context as a part of a span of another process, or as a new trace without a parent."""
    return _NOTHING if _tracer is None else _tracer.remote(name, parent, kind, attributes, is_root=True)


def use_position(traceparent: str) -> AbstractContextManager[None]:
    """Let spans in the context be parts of this position; of the current one if it is empty."""
    return _NOTHING if _tracer is None or not traceparent else _tracer.use_position(traceparent)


def batch(name: str, positions: Iterable[str]) -> AbstractContextManager[None]:
    """Record one call for many items as a part of the first recorded trace among theirs, with links to the others."""
    return _NOTHING if _tracer is None else _tracer.batch(name, positions)


def note(name: str = "", attributes: Attributes | None = None) -> None:
    """Rename the current span, and add attributes to it."""
    if _tracer is not None:
        _tracer.note(name, attributes or {})


def position() -> str:
    """Return the current position; empty without a trace."""
    return "" if _tracer is None else _tracer.position()


def position_in_trace_of(stored: str | None) -> str:
    """Return the current position if it is in the trace of the stored one, else the stored one."""
    if not stored or _tracer is None:
        return stored or ""
    current = _tracer.position()
    return current if trace_id(current) == trace_id(stored) else stored


def headers() -> dict[str, str] | None:
    """Return the header of a message that is sent now; None without a trace."""
    current = position()
    return {HEADER: current} if current else None


def sending(subject: str) -> AbstractContextManager[None]:
    """Record the sending of a message over NATS, as a part of the current span."""
    return _NOTHING if _tracer is None else _tracer.span(f"publish {_destination(subject)}", "producer", _NATS)


def receiving(subject: str, headers: Mapping[str, str] | None) -> AbstractContextManager[None]:
    """Record the handling of a message from NATS, as a part of the span that has sent it."""
    if _tracer is None or not headers or not (parent := read(headers.get(HEADER, ""))):
        return _NOTHING
    return _tracer.remote(f"receive {_destination(subject)}", parent, "consumer", _NATS, is_root=False)


def read(traceparent: str) -> str:
    """Return a valid `traceparent` as it is; an empty text for any other: a trace never fails a request."""
    return traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else ""


def trace_id(traceparent: str) -> str:
    """Return the trace of a position: 32 hex digits, or an empty text without a position."""
    return traceparent[3:35]


def connection() -> type[Connection]:
    """Return the class of connections to PostgreSQL: one that records statements, if spans are recorded."""
    if _tracer is not None:
        return _tracer.connection()
    from chassis.driver import Connection

    return Connection


def _destination(subject: str) -> str:
    """Return what messages of a subject have in common, without ids: `jobs.live_events` of `jobs.live_events.<owner>`."""
    return ".".join(subject.split(".", 2)[:2])
