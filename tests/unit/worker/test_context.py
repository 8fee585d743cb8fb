"""The context of a handler, and calls of a handler as a function."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import worker
from chassis import errors, protobuf
from tests.unit.worker.servicer import Fake
from worker import testing


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A payload of a child."""

    number: int


PAGE = worker.Kind("shop.page", lambda context, payload: asyncio.sleep(0), payload=Page)


async def import_shop(context: worker.Context) -> dict[str, Any]:
    """Use every method of the context."""
    pages = await context.step("count", lambda: 3)
    if not context.children.total:
        await context.submit_children([worker.new_job(PAGE, Page(number=n)) for n in range(pages)])
        raise worker.WaitForChildren
    done = [child.payload["number"] for child in await context.list_children() if child.state == "completed"]
    for n in range((await context.state() or 0), len(done)):
        await context.progress(n + 1, len(done), "Counting")
        await context.checkpoint(n + 1)
    return {"done": done}


async def test_handler_is_called_like_a_function() -> None:
    context = testing.RecordingContext()
    with pytest.raises(worker.WaitForChildren):
        await import_shop(context)
    assert context.recorded.checkpoints == {"count": 3}
    assert [protobuf.from_struct(new.spec.payload) for new in context.recorded.submitted] == [
        {"number": n} for n in range(3)
    ]
    assert {new.spec.parent_id for new in context.recorded.submitted} == {context.job_id}


async def test_later_attempt_is_called_like_a_function() -> None:
    children = [
        worker.Child(job_id=str(n), kind=PAGE.name, state="completed", payload={"number": n}, result={}, error_code="")
        for n in range(4)
    ]
    context = testing.RecordingContext(checkpoints={"count": 4, "@state": 2}, children=children)
    assert await import_shop(context) == {"done": [0, 1, 2, 3]}
    assert context.attempt == 2
    assert [progress.done for progress in context.recorded.progress] == [3, 4]
    assert context.recorded.checkpoints["@state"] == 4


def test_blocking_handler_is_called_like_a_function() -> None:
    def handle(context: worker.BlockingContext) -> list[Any]:
        context.progress(1, 2)
        context.checkpoint(context.step("first", lambda: (1, 2)))
        return [context.state(), context.submit(PAGE, Page(number=1)).created, context.payload, context.is_cancelled]

    context = testing.RecordingContext({"at": datetime(2026, 1, 1, tzinfo=UTC)})
    assert handle(context.blocking()) == [[1, 2], True, {"at": "2026-01-01T00:00:00Z"}, False]
    assert context.recorded.checkpoints == {"first": [1, 2], "@state": [1, 2]}
    assert [progress.done for progress in context.recorded.progress] == [1]
    context.cancelled.set()
    with pytest.raises(worker.Cancelled):
        context.blocking().raise_if_cancelled()


async def test_repeated_child_with_another_payload_is_refused() -> None:
    context = testing.RecordingContext()
    await context.submit(PAGE, Page(number=1))
    context.restart()
    with pytest.raises(errors.AlreadyExists, match="another job"):
        await context.submit(PAGE, Page(number=2))


async def test_repeated_children_are_the_existing_ones() -> None:
    context = testing.RecordingContext()
    first = [await context.submit(PAGE, Page(number=n)) for n in range(2)]
    named = await context.submit(PAGE, Page(number=0), name="named")
    context.restart()
    again = [await context.submit(PAGE, Page(number=n)) for n in range(2)]
    assert [child.job_id for child in again] == [child.job_id for child in first]
    assert ([child.created for child in first], [child.created for child in again]) == ([True] * 2, [False] * 2)
    assert len({child.job_id for child in (*first, named)}) == 3
    other = testing.RecordingContext()
    assert (await other.submit(PAGE, Page(number=0))).job_id not in {child.job_id for child in first}


async def test_steps_are_done_once_over_attempts(fake: Fake, working: Any, ended: Any) -> None:
    done: list[str] = []

    async def fetch() -> dict[str, Any]:
        done.append("fetch")
        return {"rows": 2, "rate": 0.5}

    def write() -> list[int]:
        done.append("write")
        return [1, 2]

    async def handle(context: worker.Context) -> dict[str, Any]:
        fetched, written = await context.step("fetch", fetch), await context.step("write", write)
        await context.checkpoint({"attempt": context.attempt})
        if context.attempt == 1:
            raise worker.WaitForChildren
        return {"fetched": fetched, "written": written, "state": await context.state()}

    async with working(worker.Kind("test.kind", handle)):
        outcome = await ended(fake.add("test.kind"))
    assert done == ["fetch", "write"]
    assert protobuf.from_struct(outcome.completed.result) == {
        "fetched": {"rows": 2, "rate": 0.5},
        "written": [1, 2],
        "state": {"attempt": 2},
    }
    # The first attempt has nothing to read, the second reads once.
    assert fake.calls.count("GetCheckpoints") == 1


@dataclass(frozen=True)
class Items:
    """A payload that a handler can change."""

    numbers: list[int]


@pytest.mark.parametrize("source", ["step", "state", "payload", "typed payload"])
async def test_handler_that_is_called_again_finds_what_it_was_given(
    fake: Fake, working: Any, ended: Any, source: str
) -> None:
    done: list[int] = []
    outages = [errors.Unavailable()]

    async def handle(context: worker.Context, payload: Items) -> dict[str, Any]:
        if source == "state" and await context.state() is None:
            await context.checkpoint([1, 2, 3])
        todo = {
            "step": await context.step("list", lambda: [1, 2, 3]),
            "state": await context.state(),
            "payload": context.payload["numbers"],
            "typed payload": payload.numbers,
        }[source]
        while todo:
            number = todo.pop(0)
            if done and outages:
                raise outages.pop()
            done.append(number)
        return {}

    async with working(worker.Kind("test.kind", handle, payload=Items)):
        outcome = await ended(fake.add("test.kind", {"numbers": [1, 2, 3]}))
    assert outcome.WhichOneof("outcome") == "completed"
    # The first call ended at the second number. The second call begins again.
    assert done == [1, 1, 2, 3]


async def test_step_whose_result_is_not_json_does_not_repeat_its_work(fake: Fake, working: Any, ended: Any) -> None:
    async def handle(context: worker.Context) -> None:
        await context.step("first", object)

    async with working(worker.Kind("test.kind", handle)):
        outcome = await ended(fake.add("test.kind"))
    assert (outcome.failed.error.code, outcome.failed.retryable) == ("checkpoint_refused", False)


async def test_a_lost_lease_stops_the_handler_at_the_step(fake: Fake, working: Any, eventually: Any) -> None:
    went_on = asyncio.Event()
    stopped = asyncio.Event()

    async def handle(context: worker.Context) -> None:
        fake.lost.add(context.job_id)
        try:
            await context.step("first", lambda: 1)
            went_on.set()
        finally:
            stopped.set()

    async with working(worker.Kind("test.kind", handle)):
        job_id = fake.add("test.kind")
        await asyncio.wait_for(stopped.wait(), 60)
    assert not went_on.is_set()
    assert job_id not in fake.outcomes


async def test_save_is_retried_during_outages(
    fake: Fake, jobs: worker.JobsClient, working: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages = [errors.Unavailable(), errors.DeadlineExceeded()]
    runs: list[int] = []

    def work() -> int:
        runs.append(1)
        return len(runs)

    save = jobs.save_checkpoint

    async def failing(*arguments: Any) -> None:
        if outages:
            raise outages.pop()
        await save(*arguments)

    async def handle(context: worker.Context) -> dict[str, Any]:
        return {"value": await context.step("first", work)}

    monkeypatch.setattr(jobs, "save_checkpoint", failing)
    async with working(worker.Kind("test.kind", handle)):
        outcome = await ended(fake.add("test.kind"))
    assert protobuf.from_struct(outcome.completed.result) == {"value": 1}


async def test_number_beyond_json_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        worker.new_job("test.kind", {"id": 2**53 + 1})
