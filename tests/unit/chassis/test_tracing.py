"""Traces: positions, the recorded share, log lines; and that a process that records nothing pays for nothing."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision

from chassis import errors, identity, ids, logs, process, settings, tracing
from chassis.tracing import spans, sql

TRACE = "01a228f774007e4b8e22fafb1abf63f8"
SEED = "A" * 43
STORED = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Record all spans of this test in memory."""
    memory = InMemorySpanExporter()
    recording = spans.Spans("test", memory, ratio=1.0)
    monkeypatch.setattr(tracing, "_tracer", recording)
    yield memory
    recording.stop(5.0)


@pytest.mark.parametrize(
    "invalid", ["", "x", STORED.upper(), STORED + "0", STORED.replace(TRACE, "0" * 32), STORED.replace("00-", "ff-", 1)]
)
def test_only_valid_positions_are_read(invalid: str) -> None:
    assert tracing.read(STORED) == STORED
    assert tracing.read(invalid) == ""


def test_nothing_is_recorded_without_a_trace_to_continue(exporter: InMemorySpanExporter) -> None:
    with tracing.span("a"), tracing.remote("b", "", "server"), tracing.batch("c", ["", ""]):
        assert tracing.position() == ""
        assert tracing.headers() is None
    tracing.stop()
    assert not exporter.get_finished_spans()


def test_spans_of_another_process_continue_its_trace(exporter: InMemorySpanExporter) -> None:
    with tracing.remote("call", STORED, "server"):
        inner = tracing.position()
        assert tracing.position_in_trace_of(STORED) == inner
        assert tracing.position_in_trace_of(STORED.replace(TRACE, "1" * 32))[3:35] == "1" * 32
    with tracing.receiving("jobs.live_events.1", {"traceparent": inner}):
        pass
    not_recorded = STORED.replace(TRACE, "1" * 32).removesuffix("01") + "00"
    with tracing.batch("batch", [not_recorded, "", inner, STORED]):
        pass
    tracing.stop()
    call, received, batch = exporter.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in (call, received, batch)} == {TRACE}
    assert call.parent is not None and f"{call.parent.span_id:016x}" == "00f067aa0ba902b7"
    parents = [span.parent.span_id for span in (received, batch) if span.parent]
    assert parents == [call.context.span_id] * 2
    assert received.name == "receive jobs.live_events"
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [TRACE, "1" * 32]


def test_spans_tell_errors_by_their_kind_and_never_by_their_text(exporter: InMemorySpanExporter) -> None:
    for error in (ValueError("secret"), errors.NotFound("secret", code="job_not_found")):
        with pytest.raises(type(error)), tracing.root("r", "", "server"):
            raise error
    tracing.stop()
    fault, answer = exporter.get_finished_spans()
    assert dict(fault.attributes or {}) == {"error.type": "ValueError"} and not fault.status.is_ok
    assert dict(answer.attributes or {}) == {"error.type": "job_not_found"} and answer.status.is_unset
    assert "secret" not in fault.to_json() + answer.to_json()


def test_log_lines_have_the_trace_as_the_id_of_their_request(exporter: InMemorySpanExporter) -> None:
    record = logging.makeLogRecord({"msg": "said"})
    with tracing.root("attempt", STORED, "consumer"):
        assert logs.text(record) == f"said request_id={TRACE}"
        token = logs.request_id.set("chosen-by-client")
        assert logs.text(record) == f"said request_id=chosen-by-client trace_id={TRACE}"
        logs.request_id.reset(token)
    assert logs.text(record) == "said"


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_share_of_recorded_traces_is_the_ratio(ratio: float) -> None:
    sampler = spans._Ratio(ratio)
    count = 4_000
    decisions = [sampler.should_sample(None, ids.uuid7().int, "r").decision for _ in range(count)]
    recorded = decisions.count(Decision.RECORD_AND_SAMPLE)
    assert abs(recorded / count - ratio) < 0.05


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("WITH a AS (INSERT INTO jobs.jobs (x) SELECT 1 RETURNING *) INSERT INTO jobs.attempts SELECT * FROM a",
         "INSERT jobs.jobs, INSERT jobs.attempts"),
        ("\nSELECT 1 FROM jobs.jobs j JOIN jobs.kinds k ON true", "SELECT jobs.jobs"),
        ('COPY "demo"."content" (a) FROM STDIN', "COPY demo.content"),
        ("show server_version", "SHOW"),
    ],
)  # fmt: skip
def test_statements_are_named_by_their_tables(statement: str, name: str) -> None:
    assert sql._describe(statement)[0] == name


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key"),
        ("TRACE_RATIO", "2"),
        ("TRACE_RATIO", "half"),
    ],
)
def test_invalid_settings_name_their_variable(variable: str, value: str) -> None:
    environment = {
        "NATS_URL": "nats://127.0.0.1",
        "IDENTITY_KEY": SEED,
        "TRUSTED_IDENTITY_KEYS": f"auth:{identity.public_key(SEED)}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        variable: value,
    }
    with pytest.raises(settings.SettingsError, match=variable):
        process.configure("test", settings.Process, environment)
    assert not tracing.is_on()


def test_process_that_records_nothing_imports_nothing_of_opentelemetry() -> None:
    program = """
import sys
import services.demo.__main__, services.jobs.__main__, services.auth.__main__
assert not [name for name in sys.modules if name.startswith("opentelemetry.") and name != "opentelemetry.semconv"]
import gateway.__main__
assert not [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
