"""The jobs service and the worker together: checkpoints, children, undo, later attempts, registration."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import bus, errors, identity, protobuf, run
from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from worker import testing

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A payload."""

    count: int
    fails: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The jobs service, and a worker on it."""

    jobs: worker.JobsClient
    call: client.Caller
    stub: jobs_service_pb2_grpc.JobsServiceAsyncStub
    nats_url: str
    database: AsyncEngine
    eventually: Eventually

    @asynccontextmanager
    async def working(self, *kinds: worker.Kind[Any], **options: Any) -> AsyncIterator[None]:
        """Work these kinds."""
        nats = bus.Bus(self.nats_url, name="test-worker")
        works = worker.Worker(name="test", kinds=kinds, jobs=self.jobs, bus=nats, concurrency=4, **options)
        stop = asyncio.Event()
        async with run.Background() as background:
            background.start("bus", nats.run)
            task = asyncio.create_task(works.run(stop))
            try:
                yield
            finally:
                stop.set()
                await task

    async def knows(self, kind: str) -> None:
        """Wait until the jobs service has registered a kind."""
        query = sa.text("SELECT declared_at IS NOT NULL FROM jobs.kinds WHERE kind = :kind")

        async def has_heard() -> bool:
            async with self.database.connect() as conn:
                return bool((await conn.execute(query, {"kind": kind})).scalar())

        await self.eventually(has_heard)

    async def get(self, job_id: str) -> job_pb2.Job:
        """Read a job."""
        return (await self.call(self.stub.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id), timeout=60.0)).job

    async def reaches(self, job_id: str, *states: job_pb2.JobState.ValueType) -> job_pb2.Job:
        """Wait until a job has one of these states."""

        async def has_reached() -> bool:
            return (await self.get(job_id)).state in states

        await self.eventually(has_reached)
        return await self.get(job_id)

    async def completed(self, job_id: str) -> dict[str, Any]:
        """Wait until a job has completed. Return its result."""
        ends = (job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
        job = await self.reaches(job_id, *ends)
        assert job.state == job_pb2.JOB_STATE_COMPLETED, job
        return protobuf.from_struct(job.result)


@pytest.fixture
async def service(
    jobs_target: str,
    nats_url: str,
    signer: Callable[[str], identity.Signer],
    jobs_client: worker.JobsClient,
    database: Callable[[str], AsyncEngine],
    eventually: Eventually,
) -> AsyncIterator[Service]:
    """Connect to the real jobs service."""
    call = client.Caller(signer("demo"))
    channel = worker.client.channel(jobs_target)
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    yield Service(
        jobs=jobs_client,
        call=call,
        stub=stub,
        nats_url=nats_url,
        database=database("jobs"),
        eventually=eventually,
    )
    await channel.close()


@pytest.fixture
def name() -> str:
    """Return the name of a new kind."""
    return f"demo.{uuid4().hex}"


async def test_steps_and_state_outlive_attempts(service: Service, name: str) -> None:
    done: list[int] = []

    async def handle(context: worker.Context) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            done.append(context.attempt)
            return {"made": [1, 0.5, None]}

        result = await context.step("make", make)
        reached = await context.state() or 0
        await context.checkpoint(reached + 1)
        if context.attempt < 3:
            raise worker.JobFailed("again", "Again.", retryable=True)
        return {"made": result, "reached": reached}

    kind = worker.Kind(name, handle, backoff=timedelta(milliseconds=1))
    async with service.working(kind):
        result = await service.completed((await service.jobs.submit(kind, {})).job_id)
    assert result == {"made": {"made": [1, 0.5, None]}, "reached": 2}
    assert done == [1]


async def test_parent_resumes_when_its_children_have_ended(service: Service, name: str) -> None:
    async def page(context: worker.Context, payload: Pages) -> dict[str, int]:
        if payload.fails:
            raise worker.JobFailed("broken", "It broke.", retryable=False)
        return {"page": payload.count}

    async def book(context: worker.Context, payload: Pages) -> dict[str, Any]:
        if not context.children.total:
            children = [worker.new_job(pages, Pages(count=n, fails=n == 2)) for n in range(payload.count)]
            await context.submit_children(children)
            # As after a crash between the submit and the end of the attempt.
            context.restart()
            assert not any(submitted.created for submitted in await context.submit_children(children))
            raise worker.WaitForChildren
        ended = await context.list_children()
        return {
            "counts": dataclasses.astuple(context.children),
            "states": sorted(child.state for child in ended),
            "pages": sorted(child.result["page"] for child in ended if child.result),
        }

    pages = worker.Kind(f"{name}.page", page, payload=Pages)
    books = worker.Kind(name, book, payload=Pages)
    async with service.working(pages, books):
        owner = str(uuid4())
        job_id = (await service.jobs.submit(books, Pages(count=4), owner_id=owner)).job_id
        result = await service.completed(job_id)
        (child, *_) = await service.jobs.list_children(job_id)
    assert result == {
        "counts": [4, 4, 1],
        "states": ["completed", "completed", "completed", "failed"],
        "pages": [0, 1, 3],
    }
    assert (await service.get(child.job_id)).spec.owner_id == owner


async def test_snoozed_job_resumes_without_using_an_attempt(service: Service, name: str) -> None:
    async def handle(context: worker.Context) -> dict[str, int]:
        if context.attempt == 1:
            raise worker.Snooze(timedelta(milliseconds=50))
        return {"attempt": context.attempt}

    kind = worker.Kind(name, handle, max_attempts=1)
    async with service.working(kind):
        job_id = (await service.jobs.submit(kind, {})).job_id
        assert await service.completed(job_id) == {"attempt": 2}
    assert (await service.get(job_id)).errors == 0


async def test_job_cancelled_after_its_start_is_undone(service: Service, name: str) -> None:
    started, undone = asyncio.Event(), asyncio.Queue[tuple[str, int, Pages]]()

    async def handle(context: worker.Context, payload: Pages) -> None:
        started.set()
        await context.cancelled.wait()
        context.raise_if_cancelled()

    async def undo(context: worker.Context, payload: Pages) -> None:
        assert context.undone_job
        undone.put_nowait((context.undone_job.job_id, context.undone_job.attempt, payload))

    kind = worker.Kind(name, handle, payload=Pages, undo=undo)
    async with service.working(kind):
        await service.knows(name)
        job_id = (await service.jobs.submit(kind, Pages(count=3))).job_id
        await started.wait()
        await service.call(service.stub.CancelJob, jobs_service_pb2.CancelJobRequest(job_id=job_id), timeout=60.0)
        assert await asyncio.wait_for(undone.get(), 60) == (job_id, 1, Pages(count=3))


async def test_recording_context_does_what_the_jobs_service_does(service: Service, name: str) -> None:
    """A handler that tests call as a function must behave the same in a worker."""
    child = worker.new_job(f"{name}.child", {"n": 1})

    async def refusal(call: Callable[[], Awaitable[object]]) -> str:
        try:
            return repr(await call())
        except (errors.Error, worker.JobFailed) as error:
            return error.code
        except (TypeError, ValueError) as error:
            return type(error).__name__

    async def handle(context: worker.Context) -> dict[str, Any]:
        first: Any = await context.step("first", lambda: {"pair": (1, 2.0), "at": datetime(2026, 1, 1, tzinfo=UTC)})
        first["pair"].append(3)
        submitted = await context.submit_children([child, worker.new_job(f"{name}.child", {"n": 2})])
        context.restart()
        again = await context.submit_children([child])
        return {
            "payload": context.payload,
            "first": first,
            "again": await context.step("first", dict),
            "state": await context.state(),
            "created": [job.created for job in (*submitted, *again)],
            "same": submitted[0].job_id == again[0].job_id,
            "other child": await refusal(lambda: context.submit(f"{name}.child", {"n": 3})),
            "bad step": await refusal(lambda: context.step("bad", object)),
            "no name": await refusal(lambda: context.step("", dict)),
            "large": await refusal(lambda: context.checkpoint(2**60)),
        }

    payload = {"when": datetime(2026, 1, 1, tzinfo=UTC), "pair": (1, 2.0), "none": None}
    recorded = await handle(testing.RecordingContext(payload))
    kind = worker.Kind(name, handle)
    async with service.working(kind):
        assert await service.completed((await service.jobs.submit(kind, payload)).job_id) == recorded
    assert recorded["again"] == {"pair": [1, 2], "at": "2026-01-01T00:00:00Z"}


def _nested(levels: int) -> dict[str, Any]:
    return {"a": _nested(levels - 1)} if levels > 1 else {}


async def test_deepest_payload_result_and_undo_can_be_read(service: Service, name: str) -> None:
    deepest, undone = _nested(protobuf.MAX_DEPTH), asyncio.Queue[dict[str, Any]]()
    is_cancelling = False

    async def handle(context: worker.Context) -> dict[str, Any]:
        if is_cancelling:
            raise worker.Cancelled("requested")
        await context.checkpoint(deepest)
        return context.payload

    async def undo(context: worker.Context) -> None:
        undone.put_nowait(context.payload)

    owner = str(uuid4())
    kind = worker.Kind(name, handle, undo=undo)
    async with service.working(kind):
        await service.knows(name)
        job_id = (await service.jobs.submit(kind, deepest, owner_id=owner)).job_id
        assert await service.completed(job_id) == deepest
        is_cancelling = True
        await service.jobs.submit(kind, deepest, owner_id=owner)
        assert await asyncio.wait_for(undone.get(), 60) == deepest
    request = jobs_service_pb2.BatchListJobEventsRequest(cursors=[jobs_service_pb2.EventCursor(owner_id=owner)])
    answer = await service.call(service.stub.BatchListJobEvents, request, timeout=60.0)
    jobs = [event.job for event in answer.results[0].page.events]
    assert deepest in [protobuf.from_struct(job.result) for job in jobs]
    assert deepest in [protobuf.from_struct(job.spec.payload).get("payload") for job in jobs]


async def test_payload_that_is_nested_too_deeply_harms_no_other_of_its_call(service: Service, name: str) -> None:
    with pytest.raises(ValueError, match="nested"):
        worker.new_job(name, _nested(protobuf.MAX_DEPTH + 1))

    async def deep(context: worker.Context) -> dict[str, Any]:
        return _nested(protobuf.MAX_DEPTH + 1)

    kind = worker.Kind(name, deep)
    async with service.working(kind):
        ends = (job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED)
        job = await service.reaches((await service.jobs.submit(kind, {})).job_id, *ends)
    assert (job.error.code, job.attempt) == ("result_refused", 1)


async def test_jobs_get_the_defaults_of_their_kind(service: Service, name: str) -> None:
    async def handle(context: worker.Context) -> None:
        pass

    kind = worker.Kind(
        name,
        handle,
        max_attempts=7,
        backoff=timedelta(seconds=2),
        priority=5,
        notify_owner=True,
        retention=timedelta(days=2),
    )
    schedule = worker.Schedule(name, kind=kind, cron="0 3 * * *", time_zone="Europe/Berlin")
    async with service.working(kind, schedules=[schedule]):
        await service.knows(name)
        job = await service.get((await service.jobs.submit(kind, {})).job_id)
    assert (job.spec.max_attempts, job.spec.priority, job.notify_owner) == (7, 5, True)
    assert job.spec.backoff.ToTimedelta() == timedelta(seconds=2)
    async with service.database.connect() as conn:
        query = sa.text("SELECT time_zone FROM jobs.schedules WHERE name = :name")
        assert (await conn.execute(query, {"name": name})).scalar() == "Europe/Berlin"


async def test_each_submit_has_its_own_error(service: Service, name: str) -> None:
    first = worker.new_job(name, {}, unique_key=name)
    second = worker.new_job(name, {}, unique_key=name)
    stored, refused = await service.jobs.submit_many([first, second])
    assert isinstance(stored, worker.SubmittedJob)
    assert isinstance(refused, errors.AlreadyExists)
    assert (refused.code, refused.details["job_id"]) == ("unique_key_taken", first.job_id)
    with pytest.raises(errors.AlreadyExists):
        await service.jobs.submit(name, {}, unique_key=name)


async def test_job_past_its_deadline_fails_without_retry(service: Service, name: str) -> None:
    async def endless(context: worker.Context) -> None:
        await asyncio.Event().wait()

    kind = worker.Kind(name, endless, total_timeout=timedelta(seconds=1))
    async with service.working(kind):
        await service.knows(name)
        job = job_pb2.Job()
        while not job.attempt:  # on a busy machine the deadline may pass before the worker has claimed the job
            job_id = (await service.jobs.submit(kind, {})).job_id
            job = await service.reaches(job_id, job_pb2.JOB_STATE_FAILED)
            assert job.error.code == "deadline_exceeded"
    assert job.attempt == 1
