"""Log lines of handlers: collected from the standard `logging`, bounded, masked, and sent live or with the outcome."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import worker
from tests.unit.worker.servicer import Fake
from worker._api.secrets import MASK
from worker._runtime import recorder

other = logging.getLogger("some.library")


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    """Log from level info on, as a worker does."""
    caplog.set_level(logging.INFO)


async def _logs(context: worker.Context) -> None:
    context.log.info("fetched", extra={"pages": 3})
    other.debug("not logged")

    async def inner() -> None:
        other.warning("slow %s", "page")

    await asyncio.create_task(inner())
    await asyncio.to_thread(other.error, "from a thread")


def _logs_blocking(context: worker.BlockingContext) -> None:
    context.log.info("fetched", extra={"pages": 3})
    other.warning("slow %s", "page")
    thread = threading.Thread(target=other.error, args=("from a thread",))
    thread.start()
    thread.join()


async def _silent(context: worker.Context) -> None:
    await context.progress(1, 2)


async def test_lines_of_a_short_job_go_with_its_outcome(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async with working(worker.Kind("test.logs", _logs)):
        other.info("outside of any job")
        outcome = await ended(fake.add("test.logs"))
    assert [(line.number, line.level, line.logger, line.text) for line in outcome.lines] == [
        (1, "info", "test.logs", "fetched pages=3"),
        (2, "warning", "some.library", "slow page"),
        (3, "error", "some.library", "from a thread"),
    ]
    assert "ReportProgress" not in fake.calls


@pytest.mark.parametrize("pool", ["thread", "process"])
async def test_blocking_handlers_log_as_well(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], pool: Any
) -> None:
    async with working(worker.Kind("test.logs", _logs_blocking, pool=pool)):
        job_id = fake.add("test.logs")
        await ended(job_id)
    texts = [line.text for line in fake.lines[job_id]]
    assert texts[:2] == ["fetched pages=3", "slow page"]
    # A new thread has the context of its attempt only if the handler passes it on; a process has one attempt only.
    assert ("from a thread" in texts) == (pool == "process")


async def test_job_that_logs_nothing_sends_no_lines(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async with working(worker.Kind("test.silent", _silent)):
        outcome = await ended(fake.add("test.silent"))
    assert not outcome.lines
    assert "ReportProgress" not in fake.calls


async def test_running_job_sends_its_lines_live(fake: Fake, working: Callable[..., Any], eventually: Any) -> None:
    async def waits(context: worker.Context) -> None:
        context.log.info("started")
        await context.cancelled.wait()

    async with working(worker.Kind("test.waits", waits)):
        job_id = fake.add("test.waits")

        async def has_lines() -> bool:
            return [line.text for line in fake.lines.get(job_id, [])] == ["started"]

        await eventually(has_lines)
        assert not fake.jobs[job_id].HasField("progress")
        fake.cancelling.add(job_id)


async def test_workers_of_one_process_record_each_line_once(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    with recorder.installed():  # as another worker does
        async with working(worker.Kind("test.logs", _logs)):
            job_id = fake.add("test.logs")
            await ended(job_id)
    texts = [line.text for line in fake.lines[job_id]]
    assert texts and len(texts) == len(set(texts))


async def test_concurrent_jobs_keep_their_lines_apart(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async def names_itself(context: worker.Context) -> None:
        for _ in range(3):
            other.info(context.job_id)
            await asyncio.sleep(0)

    async with working(worker.Kind("test.names", names_itself)):
        jobs = [fake.add("test.names") for _ in range(8)]
        for job_id in jobs:
            await ended(job_id)
            assert [line.text for line in fake.lines[job_id]] == [job_id] * 3


async def test_secrets_are_masked(fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]) -> None:
    async def leaks(context: worker.Context) -> None:
        try:
            raise ValueError(context.payload["token"])  # noqa: TRY301 - logged with its traceback
        except ValueError:
            other.exception("refused %s", context.payload["token"])

    async with working(worker.Kind("test.leaks", leaks, sensitive=("token",))):
        outcome = await ended(fake.add("test.leaks", {"token": "hunter2"}))
    assert outcome.lines[0].text.startswith(f"refused {MASK}\nTraceback")
    assert "hunter2" not in str(outcome.lines)


async def test_lines_are_bounded_and_the_last_one_says_so(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async def chatters(context: worker.Context) -> None:
        for number in range(recorder.MAX_LINES + 50):
            other.info("%s\ud800\0", number)

    async def shouts(context: worker.Context) -> None:
        for _ in range(50):
            other.info("é" * 10_000)

    async with working(worker.Kind("test.chatters", chatters), worker.Kind("test.shouts", shouts)):
        many, large = fake.add("test.chatters"), fake.add("test.shouts")
        await ended(many)
        await ended(large)
    assert [line.number for line in fake.lines[many]] == list(range(1, recorder.MAX_LINES + 1))
    assert sum(len(line.text.encode()) for line in fake.lines[large]) <= recorder.MAX_BYTES
    assert max(len(line.text.encode()) for line in fake.lines[large]) <= recorder.LINE_BYTES
    for job_id in (many, large):
        assert "are not kept" in fake.lines[job_id][-1].text


async def test_lines_wait_out_an_outage(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], eventually: Any
) -> None:
    async with working(worker.Kind("test.logs", _logs)):
        fake.down.add("FinishJobs")
        job_id = fake.add("test.logs")

        async def was_refused() -> bool:
            return fake.calls.count("FinishJobs") >= 2

        await eventually(was_refused)
        fake.down.clear()
        await ended(job_id)
    assert [line.number for line in fake.lines[job_id]] == [1, 2, 3]
