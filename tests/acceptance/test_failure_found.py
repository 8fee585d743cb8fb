"""The section *Try it* of the runbook: a failure is seen in metrics, found in the log and in its trace, and mended."""

from __future__ import annotations

import asyncio
import re

import psycopg

from chassis import ids
from tests import traces
from tests.acceptance import waiting
from tests.acceptance.system import System
from tests.acceptance.test_metrics import scrape
from tests.acceptance.users import User
from tests.contract.documented import pages

STATEMENT = re.compile(r"ALTER TABLE \S+ RENAME TO \w+")
FAILED = {"grpc_method": "EnableDemo", "grpc_code": "INTERNAL"}
"""What the alert CallsFail and the dashboard count."""


def failures(system: System) -> float:
    """Return how many enables the demo service has answered with an internal error."""
    samples = [s for metric in scrape(system.metrics_addresses["demo"][0]) for s in metric.samples]
    return sum(s.value for s in samples if s.name == "grpc_server_handled_total" and s.labels.items() >= FAILED.items())


async def test_a_failure_is_found_and_mended_as_the_runbook_says(
    user: User, system: System, trace_backend: traces.Backend
) -> None:
    broken, mended = STATEMENT.findall(pages()["docs/runbook/README.md"])
    before, request_id = await asyncio.to_thread(failures, system), ids.uuid7().hex
    async with await psycopg.AsyncConnection.connect(system.superuser_url(), autocommit=True) as connection:
        await connection.execute(broken)
        try:
            answer = await user.post("/demo/enable", json={}, headers=traces.traceparent(request_id))
        finally:
            await connection.execute(mended)
    assert (answer.status_code, answer.json()["request_id"]) == (500, request_id)

    async def is_counted() -> bool:
        # A service counts a call after its answer.
        return await asyncio.to_thread(failures, system) == before + 1

    await waiting.until(is_counted, "the metrics count the failed call")

    async def is_logged() -> bool:
        log = (system.data_dir.parent / "log").read_text()
        lines = [line for line in log.splitlines() if "call failed" in line and request_id in line]
        return len(lines) == 1 and "UndefinedTable" in log.partition(lines[0])[2]

    await waiting.until(is_logged, "the log has the failed call and its traceback")

    async def is_in_trace() -> bool:
        return {"500", "UndefinedTable"} <= {s.attributes.get("error.type") for s in trace_backend.spans(request_id)}

    await waiting.until(is_in_trace, "the spans of the request and of the statement name the error")
    await user.enable()
    await user.wait_for_status("enabled")
