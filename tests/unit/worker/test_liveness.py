"""A worker with a stalled loop reports it, stops renewing leases, and ends."""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import worker
from chassis import exposition
from tests.unit.worker.servicer import Fake
from worker import JobsClient, liveness
from worker._runtime import heartbeats, metrics

pytestmark = pytest.mark.slow


async def endless(context: worker.Context) -> None:
    """Hold a job."""
    await asyncio.Event().wait()


async def hang(*_: Any, **__: Any) -> Any:
    """Never answer."""
    await asyncio.Event().wait()


async def broken(*_: Any) -> Any:
    """Break each time, as a bug does."""
    raise ValueError("a bug")


async def ask(port: int, path: str) -> tuple[int, str]:
    """Ask a worker by HTTP."""

    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("fault", [hang, broken])
async def test_stalled_claim_loop_ends_the_worker_and_its_leases(
    fake: Fake, jobs: JobsClient, working: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    died = asyncio.Event()

    async def holds() -> bool:
        return len(fake.beats) > 1

    async with working(worker.Kind("test.kind", endless), stalled_seconds=2.0, on_stalled=died.set):
        fake.add("test.kind")
        await eventually(holds)
        monkeypatch.setattr(jobs, "claim", fault)
        died.clear()  # a pause of the machine is a stall as well
        await asyncio.wait_for(died.wait(), 60)
        beats = len(fake.beats)
        died.clear()
        # It looks again and again: between two looks a heartbeat would have been due.
        await asyncio.wait_for(died.wait(), 60)
        await asyncio.sleep(0)
        assert len(fake.beats) == beats


async def test_stalled_heartbeat_loop_ends_the_worker(
    fake: Fake, jobs: JobsClient, working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = asyncio.Event()
    monkeypatch.setattr(jobs, "heartbeat", hang)
    async with working(worker.Kind("test.kind", endless), stalled_seconds=2.0, on_stalled=died.set):
        fake.add("test.kind")
        await asyncio.wait_for(died.wait(), 60)


async def test_outage_of_the_jobs_service_is_not_a_stall(fake: Fake, working: Any, eventually: Any) -> None:
    died = asyncio.Event()
    fake.down = {"ClaimJobs", "HeartbeatJobs"}

    async def several_failures() -> bool:
        return fake.calls.count("ClaimJobs") > 4

    async with working(worker.Kind("test.kind", endless), stalled_seconds=3.0, on_stalled=died.set):
        await eventually(several_failures)
    assert not died.is_set()


def test_stalled_process_ends_with_its_own_exit_code() -> None:
    script = "from worker import liveness; liveness.end_process()"
    ended = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert ended.returncode == liveness.EXIT_LOOP_STALLED


async def test_health_and_metrics_are_answered() -> None:
    alive = liveness.Liveness(stalled_seconds=3_600.0)
    alive.beat("claim")
    counted = metrics.Metrics(["test.kind"], held_jobs=lambda: 3.0, claim_loop_seconds=lambda: 0.5)
    counted.by_kind["test.kind"].claimed.inc(5)
    counted.by_kind["test.kind"].finished["completed"].inc(2)
    async with exposition.serving("127.0.0.1:0", counted.registry) as port:
        assert await ask(port, "/healthz") == (200, "ok\n")
        assert (await ask(port, "/else"))[0] == 404
        status, text = await ask(port, "/metrics")
    assert status == 200
    assert 'jobs_claimed_total{kind="test.kind"} 5.0' in text
    assert 'jobs_finished_total{kind="test.kind",outcome="completed"} 2.0' in text
    assert "jobs_held 3.0" in text
    assert "claim_loop_seconds 0.5" in text


async def test_health_names_the_stalled_loop() -> None:
    dead = liveness.Liveness(stalled_seconds=0.0)
    dead.beat("claim")
    counted = metrics.Metrics([], held_jobs=lambda: 0.0, claim_loop_seconds=lambda: 0.0)
    async with exposition.serving("127.0.0.1:0", counted.registry, stalled=lambda: dead.stalled) as port:
        assert await ask(port, "/healthz") == (503, "stalled: claim\n")


async def test_worker_counts_claims_and_outcomes(
    fake: Fake, working: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries: list[CollectorRegistry] = []
    serve = exposition.serving

    def keeping(listen: str, registry: CollectorRegistry, **options: Any) -> Any:
        registries.append(registry)
        return serve(listen, registry, **options)

    async def handle(context: worker.Context) -> None:
        if context.payload["fails"]:
            raise worker.JobFailed("broken", "It broke.", retryable=False)

    monkeypatch.setattr(exposition, "serving", keeping)
    async with working(worker.Kind("test.kind", handle), metrics_address="127.0.0.1:0"):
        for fails in (True, False, False):
            await ended(fake.add("test.kind", {"fails": fails}))
    counts = {
        (sample.name, sample.labels.get("outcome", "")): sample.value
        for family in registries[0].collect()
        for sample in family.samples
    }
    assert counts["jobs_claimed_total", ""] == 3
    assert counts["jobs_finished_total", "completed"] == 2
    assert counts["jobs_finished_total", "failed"] == 1
    assert counts["jobs_run_seconds_count", ""] == 3
    assert counts["jobs_held", ""] == 0


async def test_a_thousand_leases_are_kept_by_one_call(
    fake: Fake, working: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine may answer no heartbeat in time before all jobs are claimed.
    monkeypatch.setattr(heartbeats, "LEASES_WITHOUT_CONTACT", 60)
    for _ in range(1_000):
        fake.add("test.kind")

    async def all_are_kept() -> bool:
        return any(len(beat) == 1_000 for beat in fake.beats)

    async with working(worker.Kind("test.kind", endless), concurrency=1_000):
        await eventually(all_are_kept)


async def test_unanswered_heartbeat_after_an_idle_time_stops_no_attempt(
    fake: Fake, working: Any, ended: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(heartbeats, "time", SimpleNamespace(monotonic=lambda: now))
    may_end = asyncio.Event()

    async def wait(context: worker.Context) -> None:
        await may_end.wait()

    async def is_idle() -> bool:
        return "ClaimJobs" in fake.calls

    async def are_unanswered() -> bool:
        return fake.calls.count("HeartbeatJobs") > 1

    async with working(worker.Kind("demo.wait", wait)):
        await eventually(is_idle)
        now += 100.0
        fake.down = {"HeartbeatJobs"}
        job_id = fake.add("demo.wait")
        await eventually(are_unanswered)
        may_end.set()
        assert (await ended(job_id)).HasField("completed")
