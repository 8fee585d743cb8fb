"""Traces across a database, and a trace backend that does not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import outbox, postgres, run, tracing, transactions
from chassis.prepared import Prepared
from chassis.tracing import export, spans
from dev.embedded import EmbeddedServers
from services.demo import schema

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record the spans of this test."""
    monkeypatch.setattr(tracing, "_tracer", spans.Spans("test", InMemorySpanExporter(), ratio=1.0))


@pytest.mark.usefixtures("recorded")
async def test_message_of_a_crashed_process_is_sent_within_its_trace(
    database: Callable[[str], AsyncEngine], eventually: Eventually
) -> None:
    engine, subject = database("demo"), f"test.{uuid4().hex}"
    sent_at: list[str] = []

    async def send(message_id: str, subject: str, payload: bytes) -> None:
        sent_at.append(tracing.position())

    async def ignore(message_id: str, subject: str, payload: bytes) -> None:
        """Accept the message that is not traced."""

    with tracing.root("request", "", "server"):
        trace_id = tracing.trace_id(tracing.position())
        # Without a relay, as if the process had ended after its commit.
        async with outbox.transaction(engine, schema.outbox) as tx:
            tx.publish(outbox.Message(subject=subject, payload=b""))
    untraced = f"test.{uuid4().hex}"
    async with outbox.transaction(engine, schema.outbox) as tx:
        tx.publish(outbox.Message(subject=untraced, payload=b""))
    rows = sa.select(schema.outbox.c.subject, schema.outbox.c.traceparent).where(
        schema.outbox.c.subject.in_([subject, untraced])
    )
    async with engine.connect() as conn:
        stored = {row.subject: row.traceparent for row in await conn.execute(rows)}
    assert tracing.trace_id(stored[subject] or "") == trace_id
    assert stored[untraced] is None

    async def has_been_sent() -> bool:
        return bool(sent_at)

    relay = outbox.Relay(engine, schema.outbox, {untraced: ignore, subject: send})
    async with run.Background() as background:
        background.start("relay", relay.run)
        await eventually(has_been_sent)
    assert tracing.trace_id(sent_at[0]) == trace_id


async def test_prepared_statement_is_a_span(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    recording = spans.Spans("test", exporter, ratio=1.0)
    monkeypatch.setattr(tracing, "_tracer", recording)
    engine = postgres.engine(servers.postgres.url, name="test")
    statement = Prepared(sa.select(sa.func.count()).select_from(sa.table("pg_class", schema="pg_catalog")))
    with tracing.root("request", "", "server"):
        async with transactions.begin(engine) as conn:
            await statement.execute(conn, {})
    await engine.dispose()
    recording.stop(30.0)
    assert "SELECT pg_catalog.pg_class" in [span.name for span in exporter.get_finished_spans()]


async def test_backend_that_does_not_answer_costs_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TIMEOUT_SECONDS", 3_600.0)  # the first export lasts as long as the test

    def dropped() -> float:
        return float(export.QUEUE_FULL._value.get())

    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        recording = spans.Spans.exporting("test", endpoint, headers={}, ratio=1.0)
        before = dropped()
        count = 2 * export.MAX_QUEUED
        for _ in range(count):
            with recording.remote("request", "", "server", None, is_root=True):
                pass
        # One batch may be under way.
        assert count - export.MAX_QUEUED - export.BATCH <= dropped() - before <= count - export.MAX_QUEUED
        await asyncio.to_thread(recording.stop, 0.1)
