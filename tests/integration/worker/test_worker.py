"""A worker against the real jobs service: the guarantees for handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from chassis import bus, errors, identity, ids, run
from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from worker import Cancelled, Context, JobFailed, JobsClient, Kind, Worker
from worker import client as worker_client

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
DONE = {job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


class Jobs:
    """Submits jobs of one kind and looks at them."""

    def __init__(
        self, stub: jobs_service_pb2_grpc.JobsServiceAsyncStub, call: client.Caller, eventually: Eventually
    ) -> None:
        self.kind = f"demo.{uuid4().hex}"
        self._stub = stub
        self._call = call
        self._eventually = eventually

    async def submit(self, **fields: Any) -> str:
        payload = Struct()
        payload.update({"n": 1})
        spec = job_pb2.JobSpec(kind=self.kind, owner_id=str(uuid4()), payload=payload, **fields)
        spec.backoff.FromMilliseconds(1)
        request = jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=spec)
        return (await self._call(self._stub.SubmitJob, request, timeout=60.0)).job.job_id

    async def get(self, job_id: str) -> job_pb2.Job:
        return (await self._call(self._stub.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id), timeout=60.0)).job

    async def cancel(self, job_id: str) -> None:
        await self._call(self._stub.CancelJob, jobs_service_pb2.CancelJobRequest(job_id=job_id), timeout=60.0)

    async def ended(self, job_id: str) -> job_pb2.Job:
        async def has_ended() -> bool:
            return (await self.get(job_id)).state in DONE

        await self._eventually(has_ended)
        return await self.get(job_id)


@pytest.fixture
async def jobs(
    jobs_target: str, signer: Callable[[str], identity.Signer], eventually: Eventually
) -> AsyncIterator[Jobs]:
    """Connect to the jobs service as a submitter."""
    channel = worker_client.channel(jobs_target)
    yield Jobs(jobs_service_pb2_grpc.JobsServiceStub(channel), client.Caller(signer("demo")), eventually)
    await channel.close()


@pytest.fixture
def working(jobs_client: JobsClient, nats_url: str, jobs: Jobs) -> Callable[..., Any]:
    """Run a worker with one handler. Yield the event that stops it."""

    @asynccontextmanager
    async def work(handler: Callable[[Context], Awaitable[object]], **options: Any) -> AsyncIterator[asyncio.Event]:
        nats = bus.Bus(nats_url, name="test-worker")
        settings = {"concurrency": 4, "drain_seconds": 0.2, **options}
        worker = Worker(name="test", kinds=[Kind(jobs.kind, handler)], jobs=jobs_client, bus=nats, **settings)
        stop = asyncio.Event()
        async with run.Background() as background:
            background.start("bus", nats.run)
            task = asyncio.create_task(worker.run(stop))
            try:
                yield stop
            finally:
                stop.set()
                await task

    return work


async def test_handler_gets_its_payload_and_its_result_is_stored(jobs: Jobs, working: Callable[..., Any]) -> None:
    async def handler(context: Context) -> dict[str, Any]:
        await context.progress(1, 2, "half")
        return {"payload": context.payload, "attempt": context.attempt}

    async with working(handler):
        job = await jobs.ended(await jobs.submit())
    assert job.state == job_pb2.JOB_STATE_COMPLETED
    assert json_format.MessageToDict(job.result) == {"attempt": 1, "payload": {"n": 1}}
    assert (job.progress.done, job.progress.total, job.progress.message) == (1, 2, "half")


async def test_retryable_errors_are_retried_and_final_ones_are_not(jobs: Jobs, working: Callable[..., Any]) -> None:
    async def flaky(context: Context) -> None:
        if context.attempt == 1:
            raise RuntimeError("a bug or a broken connection")
        raise JobFailed("no_such_shop", "There is no such shop.", retryable=False)

    async with working(flaky):
        job = await jobs.ended(await jobs.submit(max_attempts=5))
    assert (job.state, job.attempt) == (job_pb2.JOB_STATE_FAILED, 2)
    assert (job.error.code, job.error.message) == ("no_such_shop", "There is no such shop.")


async def test_outage_uses_no_attempt(jobs: Jobs, working: Callable[..., Any]) -> None:
    outages: list[Exception] = [
        errors.Unavailable("A part of the system does not answer."),
        ConnectionError("database"),
    ]

    async def handler(context: Context) -> dict[str, Any]:
        if outages:
            raise outages.pop()
        return {"attempt": context.attempt}

    def translate(error: Exception) -> errors.Error | None:
        return errors.Unavailable(code="database_unavailable") if isinstance(error, ConnectionError) else None

    async with working(handler, translate=translate):
        job = await jobs.ended(await jobs.submit(max_attempts=1))
    assert job.state == job_pb2.JOB_STATE_COMPLETED
    assert json_format.MessageToDict(job.result) == {"attempt": 1}


async def test_unexpected_error_hides_internals_from_the_user(jobs: Jobs, working: Callable[..., Any]) -> None:
    async def broken(context: Context) -> None:
        raise RuntimeError("password=hunter2")

    async with working(broken):
        job = await jobs.ended(await jobs.submit(max_attempts=1))
    assert job.error.code == "internal"
    assert "hunter2" not in str(job)


async def test_attempt_beyond_its_timeout_is_ended(jobs: Jobs, working: Callable[..., Any]) -> None:
    async def endless(context: Context) -> None:
        await asyncio.Event().wait()

    async with working(endless):
        spec: dict[str, Any] = {"max_attempts": 1}
        job_id = await jobs.submit(attempt_timeout={"nanos": 50_000_000}, **spec)
        job = await jobs.ended(job_id)
    assert (job.state, job.error.code) == (job_pb2.JOB_STATE_FAILED, "attempt_timeout")


async def test_running_handler_is_asked_to_stop(jobs: Jobs, working: Callable[..., Any]) -> None:
    started = asyncio.Event()

    async def patient(context: Context) -> None:
        started.set()
        await context.cancelled.wait()
        context.raise_if_cancelled()

    async with working(patient):
        job_id = await jobs.submit()
        await started.wait()
        await jobs.cancel(job_id)
        job = await jobs.ended(job_id)
    assert (job.state, job.cancel_reason) == (job_pb2.JOB_STATE_CANCELLED, "requested")


async def test_handler_that_raises_cancelled_ends_cancelled(jobs: Jobs, working: Callable[..., Any]) -> None:
    async def superseded(context: Context) -> None:
        raise Cancelled("superseded")

    async with working(superseded):
        job = await jobs.ended(await jobs.submit())
    assert (job.state, job.cancel_reason) == (job_pb2.JOB_STATE_CANCELLED, "superseded")


async def test_leases_are_renewed_while_a_handler_runs(
    jobs: Jobs, working: Callable[..., Any], eventually: Eventually, database: Callable[[str], Any]
) -> None:
    release = asyncio.Event()

    async def long(context: Context) -> None:
        await release.wait()

    async with working(long):
        job_id = await jobs.submit()

        async def is_renewed() -> bool:
            query = sa.text("SELECT lease_until < now() + interval '1 hour' FROM jobs.jobs WHERE job_id = :id")
            async with database("jobs").connect() as conn:
                return bool((await conn.execute(query, {"id": job_id})).scalar())

        await eventually(is_renewed)  # it has been claimed
        async with database("jobs").begin() as conn:
            # Longer than any lease: the next heartbeat shortens it.
            marked = sa.text("UPDATE jobs.jobs SET lease_until = now() + interval '1 day' WHERE job_id = :id")
            await conn.execute(marked, {"id": job_id})
        await eventually(is_renewed)
        release.set()
        job = await jobs.ended(job_id)
    assert (job.state, job.attempt, job.crashes) == (job_pb2.JOB_STATE_COMPLETED, 1, 0)


async def test_a_worker_that_dies_is_replaced(
    jobs: Jobs, jobs_client: JobsClient, working: Callable[..., Any], database: Callable[[str], Any]
) -> None:
    job_id = await jobs.submit()
    claimed, _ = await jobs_client.claim("dead-worker", [jobs.kind], 1)
    assert [job.job_id for job in claimed] == [job_id]
    async with database("jobs").begin() as conn:
        await conn.execute(sa.text("UPDATE jobs.jobs SET lease_until = now() WHERE job_id = :id"), {"id": job_id})

    async def handler(context: Context) -> dict[str, Any]:
        return {"attempt": context.attempt}

    async with working(handler):
        job = await jobs.ended(job_id)
    assert (job.state, job.attempt, job.crashes) == (job_pb2.JOB_STATE_COMPLETED, 2, 1)


async def test_stopping_worker_hands_back_unfinished_jobs(jobs: Jobs, working: Callable[..., Any]) -> None:
    started = asyncio.Event()

    async def endless(context: Context) -> None:
        started.set()
        await asyncio.Event().wait()

    async with working(endless):
        job_id = await jobs.submit()
        await started.wait()
    job = await jobs.get(job_id)
    assert (job.state, job.crashes) == (job_pb2.JOB_STATE_RETRYING, 0)


async def test_a_stopping_worker_lets_short_work_finish(jobs: Jobs, working: Callable[..., Any]) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def short(context: Context) -> None:
        started.set()
        await release.wait()

    async with working(short, drain_seconds=10.0) as stop:
        job_id = await jobs.submit()
        await started.wait()
        stop.set()
        release.set()
    assert (await jobs.get(job_id)).state == job_pb2.JOB_STATE_COMPLETED


async def test_a_lost_lease_stops_the_handler_at_once(
    jobs: Jobs, jobs_client: JobsClient, working: Callable[..., Any], database: Callable[[str], Any]
) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def first_is_endless(context: Context) -> None:
        if context.attempt == 1:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    async with working(first_is_endless):
        job_id = await jobs.submit()
        await started.wait()
        async with database("jobs").begin() as conn:
            # As if another worker had renewed it: this one's heartbeats find nothing of theirs.
            steal = sa.text("UPDATE jobs.jobs SET worker = 'another', lease_until = now() WHERE job_id = :id")
            await conn.execute(steal, {"id": job_id})
        await asyncio.wait_for(stopped.wait(), 60)
        job = await jobs.ended(job_id)
    assert (job.state, job.attempt) == (job_pb2.JOB_STATE_COMPLETED, 2)


@pytest.mark.parametrize(
    "result", [{"text": "x" * 70_000}, {"nan": float("nan")}, {"nul": "a\x00b"}, {"what": object()}]
)
async def test_a_result_that_cannot_be_stored_fails_the_job(
    jobs: Jobs, working: Callable[..., Any], result: dict[str, Any]
) -> None:
    async def handler(context: Context) -> dict[str, Any]:
        return result

    async with working(handler):
        job = await jobs.ended(await jobs.submit())
    assert (job.state, job.error.code) == (job_pb2.JOB_STATE_FAILED, "result_refused")


async def test_invalid_progress_does_not_lose_the_result(jobs: Jobs, working: Callable[..., Any]) -> None:
    async def handler(context: Context) -> None:
        await context.progress(-1, 2, "backwards")

    async with working(handler):
        job = await jobs.ended(await jobs.submit())
    assert job.state == job_pb2.JOB_STATE_COMPLETED


async def test_pending_claim_at_shutdown_is_handed_back(
    jobs: Jobs, jobs_client: JobsClient, working: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()
    claim = jobs_client.claim

    async def slow(*arguments: Any, **options: Any) -> Any:
        answer = await claim(*arguments, **options)
        if answer[0]:
            claiming.set()
            await go_on.wait()
        return answer

    async def endless(context: Context) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(jobs_client, "claim", slow)
    async with working(endless) as stop:
        job_id = await jobs.submit()
        await claiming.wait()
        stop.set()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    job = await jobs.get(job_id)
    assert (job.state, job.attempt, job.crashes) == (job_pb2.JOB_STATE_RETRYING, 1, 0)


async def test_broken_claim_loop_is_restarted(
    jobs: Jobs, jobs_client: JobsClient, working: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = jobs_client.claim
    broken = asyncio.Event()

    async def breaks_once(*arguments: Any, **options: Any) -> Any:
        if not broken.is_set():
            broken.set()
            raise ValueError("a bug")
        return await claim(*arguments, **options)

    async def handler(context: Context) -> None:
        pass

    monkeypatch.setattr(jobs_client, "claim", breaks_once)
    async with working(handler):
        job = await jobs.ended(await jobs.submit())
    assert job.state == job_pb2.JOB_STATE_COMPLETED
