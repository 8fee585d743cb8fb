"""Large values delay no heartbeat: claims and checkpoints are bounded by bytes, other answers leave payloads out."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, ids, protobuf
from repruv.jobs.v1 import job_events_pb2
from services.jobs import broadcast, checkpoints, convert, domain, notifications, outcomes, storage
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import LONG, Callers, Eventually

LARGE: dict[str, Any] = {"rows": [{"id": n, "text": "abc"} for n in range(7_500)]}
"""About 200 KB of small values, the slowest to convert."""


@pytest.fixture
async def large(jobs: Operations, spec: jobs_helpers.MakeSpec) -> list[UUID]:
    """Return eight jobs with large payloads."""
    submits = [(ids.uuid7(), spec(payload=LARGE)) for _ in range(8)]
    await jobs.submit_many(submits)
    return [job_id for job_id, _ in submits]


async def test_claims_end_with_their_byte_limit_and_lose_no_job(
    jobs: Operations, large: list[UUID], kind: str, eventually: Eventually
) -> None:
    callers = Callers(jobs, eventually)
    claimed: list[UUID] = []
    started = time.monotonic()
    while len(claimed) < len(large):
        batch = await callers.call(kind, limit=100, wait=LONG)
        assert 1 <= len(batch) <= 3
        assert all(job.spec.payload == LARGE for job in batch)
        claimed += [job.job_id for job in batch]
    assert claimed == large
    # A claim that ended for its size marks no kind as drained: none of these calls waited.
    assert time.monotonic() - started < LONG.total_seconds()


async def test_small_payloads_do_not_end_a_claim(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    await jobs.submit_many([(ids.uuid7(), spec(payload={"n": n})) for n in range(100)])
    assert len(await jobs_helpers.claim(jobs, kind)) == 100


async def test_only_a_read_and_a_claim_return_a_large_payload(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str, nats_url: str
) -> None:
    job_id = ids.uuid7()
    await jobs.submit(job_id, spec(payload=LARGE, notify_owner=True))
    assert (await jobs.get(job_id, owner_id=None)).spec.payload == LARGE
    claimed = await jobs.claim(worker="w", kinds=[kind], limit=1)
    assert claimed[0].spec.payload == LARGE
    owner_id = claimed[0].spec.owner_id
    page = await jobs.lists.page(owner_id=owner_id, states=(), kinds=(), parent_id=None, page_size=100, page_token="")
    finished = await jobs.finish(job_id, 1, outcomes.Completed())
    unread = notifications.Notifications(jobs_engine, bus.Bus(nats_url, name="test"))
    notified = await unread.list_page(owner_id, page_size=100, page_token="")
    assert [job.job_id for job in notified.jobs] == [job_id]
    for job in (*page.jobs, *notified.jobs, finished):
        assert not job.has_payload
        assert not convert.job_to_proto(job).spec.HasField("payload")
    for event in (await jobs.list_events(owner_id, after=0, limit=100))[0]:
        assert not job_events_pb2.JobEvent.FromString(event).job.spec.HasField("payload")


async def test_small_payloads_are_in_lists_and_events(jobs: Operations, submit_job: jobs_helpers.Submit) -> None:
    job = await submit_job(payload={"n": 1})
    ((event,), _) = await jobs.list_events(job.spec.owner_id, after=0, limit=100)
    assert job_events_pb2.JobEvent.FromString(event).job.spec.payload["n"] == 1


async def test_undo_of_a_job_with_a_large_payload_receives_it(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    job_id = ids.uuid7()
    await jobs.submit(job_id, spec(payload=LARGE, has_undo=True))
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.cancel(job_id, owner_id=None, reason="requested")
    await jobs.finish(job_id, 1, outcomes.Cancelled(reason="requested"))
    (undo,) = await jobs.claim(worker="w", kinds=[kind + domain.UNDO], limit=1)
    assert undo.spec.payload["payload"] == LARGE


async def test_workers_receive_payloads_that_are_stored_larger_than_they_were_submitted(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    largest: dict[str, Any] = {"text": "x" * (convert.MAX_PAYLOAD_BYTES - 30)}
    written_out: dict[str, Any] = {"numbers": [1e300] * 1_000}
    for payload, has_undo in ((written_out, False), (largest, True)):
        assert convert.json_from_proto(convert.json_to_proto(payload), "payload", convert.MAX_PAYLOAD_BYTES) == payload
        job_id = ids.uuid7()
        await jobs.submit(job_id, spec(payload=payload, has_undo=has_undo))
        assert received(await jobs_helpers.claim_one(jobs, kind)) == payload
        await jobs.finish(job_id, 1, outcomes.Cancelled(reason="requested"))
    assert received(await jobs_helpers.claim_one(jobs, kind + domain.UNDO))["payload"] == largest


def received(claimed: domain.Job) -> dict[str, Any]:
    """Return the payload that the worker of a claimed job gets."""
    return protobuf.from_struct(convert.claimed_to_proto(claimed).spec.payload)


async def test_repeated_submit_with_a_large_payload_returns_the_stored_job(
    jobs: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    job_id = ids.uuid7()
    large = spec(payload=LARGE)
    assert (await jobs.submit(job_id, large))[1]
    assert not (await jobs.submit(job_id, large))[1]


async def test_checkpoints_of_a_job_are_bounded_by_bytes(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    value = "x" * (64 * 1024 - 2)
    fits = checkpoints.MAX_BYTES // (64 * 1024)
    for number in range(fits):
        await jobs.reports.save_checkpoint(job.job_id, 1, f"n{number}", value)
    await jobs.reports.save_checkpoint(job.job_id, 1, "n0", value)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await jobs.reports.save_checkpoint(job.job_id, 1, "one more", 1)
    assert excinfo.value.code == "checkpoints_too_large"
    assert "one more" not in await jobs.reports.get_checkpoints(job.job_id, 1)
    await jobs.reports.save_checkpoint(job.job_id, 1, "n0", 1)
    await jobs.reports.save_checkpoint(job.job_id, 1, "one more", 1)
    assert len(await jobs.reports.get_checkpoints(job.job_id, 1)) == fits + 1


async def test_progress_reads_no_payload(jobs: Operations, large: list[UUID], kind: str) -> None:
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    async with jobs.engine.begin() as conn:
        job = await storage.set_progress(conn, large[0], 1, domain.Progress(done=1, total=2))
    assert job
    assert not job.has_payload


async def test_broadcast_progress_is_small(
    jobs: Operations, large: list[UUID], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    messages: list[Any] = []
    nats = bus.Bus("nats://127.0.0.1:1", name="test-progress")
    broadcaster = broadcast.Broadcaster(nats)
    monkeypatch.setattr(broadcaster, "send", lambda subject, message: messages.append(message))
    broadcaster.progress(job)
    (message,) = messages
    assert message.ByteSize() < 1_000
