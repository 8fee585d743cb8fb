"""Attempts as the jobs service sees them: payloads, outcomes, batches, registration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import worker
from chassis import errors, protobuf
from tests.unit.worker.servicer import Fake
from worker._runtime import attempt, progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A payload."""

    url: str
    limit: int = 100


async def test_a_typed_handler_gets_its_payload(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context, payload: Import) -> dict[str, Any]:
        return {"url": payload.url, "limit": repr(payload.limit), "attempt": context.attempt}

    async with working(worker.Kind("shop.import", handle, payload=Import)):
        outcome = await ended(fake.add("shop.import", {"url": "u", "limit": 3.0, "unknown": True}))
    assert protobuf.from_struct(outcome.completed.result) == {"url": "u", "limit": "3", "attempt": 1}


async def test_invalid_payload_fails_without_retry(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context, payload: Import) -> None:
        raise AssertionError("must not be called")

    async with working(worker.Kind("shop.import", handle, payload=Import)):
        outcome = await ended(fake.add("shop.import", {"url": "u", "limit": 3.5}))
    assert (outcome.failed.error.code, outcome.failed.retryable) == ("payload_invalid", False)
    assert "limit" in outcome.failed.error.message


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (worker.Snooze(timedelta(minutes=5)), "snoozed"),
        (worker.WaitForChildren(), "waiting"),
        (worker.Discard("no longer wanted"), "cancelled"),
        (worker.JobFailed("broken", "It broke.", retryable=True), "failed"),
        (errors.NotFound("gone"), "failed"),
    ],
)
async def test_exception_of_a_handler_becomes_the_outcome(
    fake: Fake, working: Any, eventually: Any, raised: Exception, outcome: str
) -> None:
    async def handle(context: worker.Context) -> None:
        if context.attempt == 1:
            raise raised

    async with working(worker.Kind("test.kind", handle)):
        job_id = fake.add("test.kind")

        async def has_heard() -> bool:
            return job_id in fake.outcomes

        await eventually(has_heard)
    reported = fake.outcomes[job_id][0]
    assert reported.WhichOneof("outcome") == outcome
    if outcome == "snoozed":
        assert reported.snoozed.delay.ToTimedelta() == timedelta(minutes=5)
    if outcome == "cancelled":
        assert reported.cancelled.reason == "no longer wanted"


async def test_deadline_of_a_job_fails_it_without_retry(fake: Fake, working: Any, ended: Any) -> None:
    async def endless(context: worker.Context) -> None:
        await asyncio.Event().wait()

    async with working(worker.Kind("test.kind", endless)):
        outcome = await ended(fake.add("test.kind", time_left=timedelta(milliseconds=200)))
    assert (outcome.failed.error.code, outcome.failed.retryable) == ("deadline_exceeded", False)


async def test_deadline_goes_by_the_clock_of_the_database(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context) -> None:
        await asyncio.sleep(0)

    async with working(worker.Kind("test.kind", handle)):
        # The clock of this worker is ten minutes ahead.
        passed = datetime.now(UTC) - timedelta(minutes=10)
        outcome = await ended(fake.add("test.kind", deadline=passed, time_left=timedelta(minutes=1)))
    assert outcome.WhichOneof("outcome") == "completed"


async def test_outcome_that_causes_internal_errors_is_given_up(
    fake: Fake, working: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MAX_INTERNAL_ERRORS", 2)

    async def handle(context: worker.Context) -> None:
        await asyncio.sleep(0)

    async with working(worker.Kind("test.kind", handle)):
        poison = fake.add("test.kind")
        fake.poison.add(poison)
        assert (await ended(poison)).failed.error.code == "result_refused"
        assert (await ended(fake.add("test.kind"))).WhichOneof("outcome") == "completed"


async def test_undo_gets_the_original_payload(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context, payload: Import) -> None:
        raise AssertionError("must not be called")

    async def undo(context: worker.Context, payload: Import) -> dict[str, Any]:
        assert context.undone_job
        return {"url": payload.url, "job_id": context.undone_job.job_id, "attempt": context.undone_job.attempt}

    async with working(
        worker.Kind("shop.import", handle, payload=Import, undo=undo, notify_owner=True, max_attempts=7)
    ):
        done = {"job_id": "that", "attempt": 2, "payload": {"url": "u"}}
        outcome = await ended(fake.add("shop.import.undo", done))
    assert protobuf.from_struct(outcome.completed.result) == {"url": "u", "job_id": "that", "attempt": 2}
    kind, undo_kind = fake.registrations[0].kinds
    assert (kind.kind, kind.has_undo, kind.notify_owner, kind.defaults.max_attempts) == ("shop.import", True, True, 7)
    assert (undo_kind.kind, undo_kind.has_undo, undo_kind.notify_owner) == ("shop.import.undo", False, False)


async def test_refused_result_does_not_affect_its_batch(fake: Fake, working: Any, ended: Any) -> None:
    go = asyncio.Event()

    async def handle(context: worker.Context) -> dict[str, Any]:
        await go.wait()
        return {"result": object() if context.payload["bad"] else "fine"}

    async with working(worker.Kind("test.kind", handle)):
        bad, good = (fake.add("test.kind", {"bad": bad}) for bad in (True, False))
        go.set()
        assert (await ended(bad)).failed.error.code == "result_refused"
        assert (await ended(good)).WhichOneof("outcome") == "completed"


async def test_result_larger_than_a_call_is_refused(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context) -> dict[str, Any]:
        return {"text": "x" * 2_000_000}

    async with working(worker.Kind("test.kind", handle)):
        outcome = await ended(fake.add("test.kind"))
    assert (outcome.failed.error.code, outcome.failed.retryable) == ("result_refused", False)


async def test_attempts_that_end_together_share_a_call(fake: Fake, working: Any, ended: Any) -> None:
    gathered = asyncio.Barrier(50)

    async def handle(context: worker.Context) -> None:
        await gathered.wait()

    ids = [fake.add("test.kind") for _ in range(50)]
    async with working(worker.Kind("test.kind", handle), concurrency=50):
        for job_id in ids:
            await ended(job_id)
    assert sum(fake.finishes) == 50
    assert len(fake.finishes) <= 2


async def test_undelivered_outcomes_are_retried(fake: Fake, working: Any, ended: Any, eventually: Any) -> None:
    async def handle(context: worker.Context) -> None:
        pass

    fake.down = {"FinishJobs"}
    async with working(worker.Kind("test.kind", handle), concurrency=1):
        first, second = fake.add("test.kind"), fake.add("test.kind")

        async def several_tries() -> bool:
            return fake.calls.count("FinishJobs") > 2

        await eventually(several_tries)
        fake.down = set()
        for job_id in (first, second):
            assert (await ended(job_id)).WhichOneof("outcome") == "completed"


async def test_many_jobs_are_claimed_by_few_calls(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context) -> None:
        await asyncio.sleep(0)

    ids = [fake.add("test.kind") for _ in range(1_000)]
    async with working(worker.Kind("test.kind", handle), concurrency=100):
        for job_id in ids:
            await ended(job_id)
    assert fake.calls.count("ClaimJobs") < 50
    assert fake.calls.count("FinishJobs") < 100


async def test_failed_registration_does_not_stop_the_work(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context) -> None:
        pass

    fake.down = {"RegisterKinds"}
    async with working(worker.Kind("test.kind", handle)):
        assert (await ended(fake.add("test.kind"))).WhichOneof("outcome") == "completed"
    assert not fake.registrations


async def test_schedules_are_registered(fake: Fake, working: Any, eventually: Any) -> None:
    async def handle(context: worker.Context, payload: Import) -> None:
        pass

    kind = worker.Kind("shop.import", handle, payload=Import, retention=timedelta(days=1))
    nightly = worker.Schedule(
        "shop.nightly", kind=kind, payload=Import(url="u"), cron="0 3 * * *", time_zone="Europe/Berlin", overlap="queue"
    )

    async def is_registered() -> bool:
        return bool(fake.registrations)

    async with working(kind, schedules=[nightly]):
        await eventually(is_registered)
    (schedule,) = fake.registrations[0].schedules
    assert (schedule.name, schedule.kind, schedule.cron) == ("shop.nightly", "shop.import", "0 3 * * *")
    assert (schedule.time_zone, schedule.overlap, schedule.catch_up) == ("Europe/Berlin", 3, 1)
    assert protobuf.from_struct(schedule.payload) == {"url": "u", "limit": 100}
    assert fake.registrations[0].kinds[0].retention.ToTimedelta() == timedelta(days=1)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda handle: worker.Kind("Shop Import", handle),
        lambda handle: worker.Kind("x" * 98, handle, undo=handle),
        lambda handle: worker.Kind("shop.import", handle, max_attempts=101),
        lambda handle: worker.Kind("shop.import", handle, pool="thread"),
    ],
)
def test_invalid_kinds_are_refused(mistake: Callable[[Any], Any]) -> None:
    async def handle(context: worker.Context) -> None:
        pass

    with pytest.raises(ValueError):
        mistake(handle)


async def test_reports_during_a_call_wait_for_the_next_interval(
    fake: Fake, jobs: worker.JobsClient, working: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, calls, is_reported = jobs.report_progress, 0, asyncio.Event()
    contexts: list[worker.Context] = []

    async def report_and_go_on(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        monkeypatch.setattr(progress, "PROGRESS_SECONDS", 3_600.0)
        await contexts[0].progress(calls, 10)
        await report(*arguments)
        is_reported.set()

    async def handle(context: worker.Context) -> None:
        contexts.append(context)
        await context.progress(0, 10)
        await is_reported.wait()
        for _ in range(100):
            await asyncio.sleep(0)

    monkeypatch.setattr(jobs, "report_progress", report_and_go_on)
    async with working(worker.Kind("test.kind", handle)):
        outcome = await ended(fake.add("test.kind"))
    assert (calls, outcome.completed.progress.done) == (1, 1)


async def test_stop_of_a_worker_that_waits_for_jobs_is_no_error(
    fake: Fake, working: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def endless(context: worker.Context) -> None:
        await asyncio.Event().wait()

    async def waits_beside_a_job() -> bool:
        return bool(fake.beats) and fake.calls[-1] != "ClaimJobs" and fake.calls.count("ClaimJobs") > 1

    async with working(worker.Kind("test.kind", endless), drain_seconds=1.0):
        fake.add("test.kind")
        await eventually(waits_beside_a_job)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
