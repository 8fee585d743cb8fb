"""Every exception or report of a handler gives its job an outcome; other jobs of the worker continue."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

import pytest

import worker
from chassis import errors
from tests.unit.worker.servicer import Fake

SURROGATE = "\ud800"


async def _idle(context: worker.Context) -> None:
    await context.cancelled.wait()


async def _exit_async(context: worker.Context) -> None:
    sys.exit(2)


async def _exit_in_task(context: worker.Context) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_exit_async(context))


def _exit_in_thread(context: worker.BlockingContext) -> None:
    sys.exit(2)


async def _cancelled_async(context: worker.Context) -> None:
    raise asyncio.CancelledError


def _cancelled_in_thread(context: worker.BlockingContext) -> None:
    async def cancel() -> None:
        raise asyncio.CancelledError

    asyncio.run(cancel())


async def _group_of_errors(context: worker.Context) -> None:
    raise BaseExceptionGroup("tasks", [ValueError("a"), worker.JobFailed("broken", "It broke.", retryable=False)])


@pytest.mark.parametrize(
    "handler",
    [_exit_async, _exit_in_task, _exit_in_thread, _cancelled_async, _cancelled_in_thread, _group_of_errors],
)
async def test_any_other_error_fails_its_attempt_alone(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], handler: Callable[..., Any]
) -> None:
    pool: Any = "thread" if handler in {_exit_in_thread, _cancelled_in_thread} else None
    kinds = worker.Kind("test.bad", handler, pool=pool), worker.Kind("test.idle", _idle)
    neighbour = fake.add("test.idle")
    # More than there are slots: none of them is lost.
    bad = [fake.add("test.bad") for _ in range(6)]
    async with working(*kinds):
        for job_id in bad:
            outcome = await ended(job_id)
            assert (outcome.failed.error.code, outcome.failed.retryable) == ("internal", True)
        assert fake.ended(neighbour) is None


async def _failed_in_group(context: worker.Context) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_fail())
        tasks.create_task(asyncio.sleep(60))


async def _fail() -> None:
    raise worker.JobFailed("broken", "It broke.", retryable=False)


async def _cancelled_in_group(context: worker.Context) -> None:
    async def stop() -> None:
        raise worker.Cancelled("superseded")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stop())


async def test_outcome_raised_in_a_task_group_is_the_outcome(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async with working(worker.Kind("test.failed", _failed_in_group), worker.Kind("test.stopped", _cancelled_in_group)):
        failed = await ended(fake.add("test.failed"))
        assert (failed.failed.error.code, failed.failed.retryable) == ("broken", False)
        assert (await ended(fake.add("test.stopped"))).cancelled.reason == "superseded"


class _Wordless:
    def __str__(self) -> str:
        raise ValueError("no words")


class _Empty(worker.JobFailed):
    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    "error",
    [
        _Empty(),
        worker.JobFailed("broken", _Wordless(), retryable=False),  # type: ignore[arg-type]
        worker.JobFailed("broken", "It broke.", retryable="no"),  # type: ignore[arg-type]
        worker.Cancelled(_Wordless()),  # type: ignore[arg-type]
    ],
)
async def test_outcome_that_cannot_be_built_is_an_internal_error(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], error: Exception
) -> None:
    async def handle(context: worker.Context) -> None:
        raise error

    async with working(worker.Kind("test.kind", handle)):
        outcome = await ended(fake.add("test.kind"))
    assert (outcome.failed.error.code, outcome.failed.retryable) == ("internal", True)


async def test_plain_function_without_a_pool_does_its_work_once(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    def handle(context: worker.Context) -> dict[str, int]:
        return {"done": 1}

    async with working(worker.Kind("test.kind", handle)):  # type: ignore[arg-type]
        failed = (await ended(fake.add("test.kind"))).failed
    assert (failed.error.code, failed.retryable) == ("handler_not_async", False)
    assert failed.exception.message == "a handler without a pool is an async function"


async def test_outage_that_several_tasks_meet_uses_no_attempt(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    outages = [errors.Unavailable(), ConnectionError("database")]

    async def read() -> None:
        if outages:
            raise outages.pop()

    async def handle(context: worker.Context) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            tasks.create_task(read())

    def translate(error: Exception) -> errors.Error | None:
        return errors.Unavailable() if isinstance(error, ConnectionError) else None

    async with working(worker.Kind("test.kind", handle), translate=translate):
        assert (await ended(fake.add("test.kind"))).WhichOneof("outcome") == "completed"


async def _odd_words(context: worker.Context) -> None:
    raise worker.JobFailed(SURROGATE, f"It broke{SURROGATE}", retryable=False)


async def _odd_result(context: worker.Context) -> dict[str, str]:
    return {"text": SURROGATE}


async def test_texts_that_protobuf_refuses_do_not_hide_the_outcome(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async with working(worker.Kind("test.words", _odd_words), worker.Kind("test.result", _odd_result)):
        words = await ended(fake.add("test.words"))
        assert (words.failed.error.code, words.failed.error.message) == ("?", "It broke?")
        assert (await ended(fake.add("test.result"))).failed.error.code == "result_refused"


async def _progresses(context: worker.Context) -> None:
    for done, message in (
        (1, "First"),
        (-1, "negative"),
        (1.5, "fraction"),
        (2**70, "large"),
        (2, SURROGATE),
        (3, "Last"),
    ):
        await context.progress(done, 4, message)  # type: ignore[arg-type]


async def test_progress_of_a_short_job_goes_with_its_outcome(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async with working(worker.Kind("test.progress", _progresses)):
        outcome = await ended(fake.add("test.progress"))
    progress = outcome.completed.progress
    assert (progress.done, progress.total, progress.message) == (3, 4, "Last")
    assert "ReportProgress" not in fake.calls


async def _swallows_cancellations(context: worker.Context) -> None:
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_handler_that_swallows_cancellations_is_cancelled_again(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker._runtime.worker.CANCEL_GRACE_SECONDS", 0.05)
    monkeypatch.setattr("worker._runtime.attempt.STOP_AGAIN_SECONDS", 0.05)
    async with working(worker.Kind("test.stubborn", _swallows_cancellations)):
        job_id = fake.add("test.stubborn")
        fake.cancelling.add(job_id)
        assert (await ended(job_id)).cancelled.reason == "requested"


@pytest.mark.parametrize("ends", [True, False])
async def test_worker_stops_although_a_handler_ignores_it_and_no_outcome_is_stored(
    fake: Fake,
    working: Callable[..., Any],
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    ends: bool,
) -> None:
    cancellations, is_late = 0, asyncio.Event()

    async def ignore(context: worker.Context) -> None:
        nonlocal cancellations
        while not is_late.is_set() and not (ends and cancellations == 2):
            with contextlib.suppress(asyncio.CancelledError):
                await is_late.wait()
            cancellations += 1

    async def is_held() -> bool:
        return any(job_id in beat for beat in fake.beats)

    def end() -> None:
        is_late.set()
        fake.unavailable.clear()

    async def end_a_worker_that_hangs() -> None:
        # Counts turns of the event loop, not seconds: a busy machine delays the worker as much.
        for _ in range(2_000):
            await asyncio.sleep(0.01)
        end()

    for name in ("HAND_BACK_SECONDS", "ABANDON_SECONDS"):
        monkeypatch.setattr(f"worker._runtime.worker.{name}", 0.1)
    fake.unavailable = {"FinishJobs"}
    job_id = fake.add("test.stubborn")
    async with working(worker.Kind("test.stubborn", ignore)):
        await eventually(is_held)
        watch = asyncio.create_task(end_a_worker_that_hangs())
    assert not is_late.is_set()
    watch.cancel()
    end()
    assert fake.ended(job_id) is None
