"""Blocking handlers in threads and processes."""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import threading
import time
from concurrent import futures
from datetime import timedelta
from typing import Any, Literal

import pytest

import worker
from chassis import protobuf
from tests.unit.worker.servicer import Fake
from worker import liveness
from worker._api import context as contexts
from worker._runtime import claims, threads
from worker._runtime import worker as runtime

pytestmark = pytest.mark.slow


def everything(context: worker.BlockingContext) -> dict[str, Any]:
    """Use every method of the context."""
    context.progress(1, 2, "half")
    numbers = context.step("first", lambda: [1, 2])
    context.checkpoint({"n": 1})
    child = context.submit("test.child", {"n": 1})
    listed = [entry.job_id for entry in context.list_children()]
    is_listed = child.job_id in listed
    return {
        "found": numbers,
        "state": context.state(),
        "same": is_listed,
        "pid": os.getpid(),
        "n": context.payload["n"],
    }


def refuse(context: worker.BlockingContext) -> None:
    """Fail as an async handler would."""
    raise worker.JobFailed("no_such_shop", "There is no such shop.", retryable=False)


def crash(context: worker.BlockingContext) -> None:
    """Die like a process without memory."""
    os._exit(9)


def share(context: worker.BlockingContext) -> dict[str, list[int]]:
    """Use the context in several threads at once."""
    with futures.ThreadPoolExecutor(8) as pool:
        return {"numbers": list(pool.map(lambda number: context.step(f"step {number}", lambda: number), range(40)))}


def leave_a_thread(context: worker.BlockingContext) -> dict[str, int]:
    """Return while a thread still has the context."""
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return {"pid": os.getpid()}


def hang(context: worker.BlockingContext) -> None:
    """Ignore every signal to stop."""
    context.step("pid", os.getpid)
    time.sleep(600)


def leave_a_process(context: worker.BlockingContext) -> None:
    """Start a process that has the pipe of this one, and hang."""
    child = os.fork()
    if not child:
        time.sleep(600)
    context.step("child", lambda: child)
    time.sleep(600)


async def test_a_thread_uses_its_context(fake: Fake, working: Any, ended: Any) -> None:
    async with working(worker.Kind("test.kind", everything, pool="thread")):
        outcome = await ended(fake.add("test.kind", {"n": 5}))
    result = protobuf.from_struct(outcome.completed.result)
    assert result == {"found": [1, 2], "state": {"n": 1}, "same": True, "pid": os.getpid(), "n": 5}


async def test_a_process_uses_its_context_and_is_used_again(fake: Fake, working: Any, ended: Any) -> None:
    async with working(worker.Kind("test.kind", everything, pool="process")):
        first, second = [await ended(fake.add("test.kind", {"n": n})) for n in (5, 6)]
    results = [protobuf.from_struct(outcome.completed.result) for outcome in (first, second)]
    assert [result["n"] for result in results] == [5, 6]
    assert results[0] == {"found": [1, 2], "state": {"n": 1}, "same": True, "pid": results[0]["pid"], "n": 5}
    assert results[0]["pid"] == results[1]["pid"] != os.getpid()


@pytest.mark.parametrize("pool", ["thread", "process"])
async def test_threads_of_a_handler_share_its_context(
    fake: Fake, working: Any, ended: Any, pool: Literal["thread", "process"]
) -> None:
    async with working(worker.Kind("test.kind", share, pool=pool)):
        outcome = await ended(fake.add("test.kind"))
    assert protobuf.from_struct(outcome.completed.result) == {"numbers": list(range(40))}


async def test_a_process_in_which_a_handler_left_a_thread_gets_no_other_job(
    fake: Fake, working: Any, ended: Any
) -> None:
    """The thread would log and report in the name of the next job."""
    async with working(worker.Kind("test.kind", leave_a_thread, pool="process")):
        outcomes = [await ended(fake.add("test.kind")) for _ in range(2)]
    first, second = (protobuf.from_struct(outcome.completed.result)["pid"] for outcome in outcomes)
    assert first != second


async def test_exceptions_of_pools_become_the_outcome(fake: Fake, working: Any, ended: Any) -> None:
    kinds = [worker.Kind(f"test.{pool}", refuse, pool=pool) for pool in ("thread", "process")]
    async with working(*kinds):
        for kind in kinds:
            outcome = await ended(fake.add(kind.name))
            assert (outcome.failed.error.code, outcome.failed.retryable) == ("no_such_shop", False)


async def test_a_process_that_dies_fails_its_attempt_only(fake: Fake, working: Any, ended: Any) -> None:
    async with working(
        worker.Kind("test.crash", crash, pool="process"), worker.Kind("test.fine", refuse, pool="process")
    ):
        outcome = await ended(fake.add("test.crash"))
        assert (outcome.failed.error.code, outcome.failed.retryable) == ("process_died", True)
        assert (await ended(fake.add("test.fine"))).failed.error.code == "no_such_shop"


async def test_a_process_is_killed_when_its_job_is_cancelled(
    fake: Fake, working: Any, ended: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process cannot be asked to stop, so it is given no time to do so.
    monkeypatch.setattr(runtime, "CANCEL_GRACE_SECONDS", 3_600.0)
    async with working(worker.Kind("test.kind", hang, pool="process")):
        job_id = fake.add("test.kind")

        async def hangs() -> bool:
            return job_id in fake.checkpoints

        await eventually(hangs)
        fake.cancelling.add(job_id)
        outcome = await ended(job_id)
        assert outcome.cancelled.reason == "requested"
        pid = int(fake.checkpoints[job_id]["pid"].number_value)
        await eventually(functools.partial(_is_gone, pid))


async def test_process_is_killed_with_those_that_it_has_started(
    fake: Fake, working: Any, ended: Any, eventually: Any
) -> None:
    async def hangs() -> bool:
        return job_id in fake.checkpoints

    kinds = worker.Kind("test.kind", leave_a_process, pool="process"), worker.Kind("test.next", refuse, pool="thread")
    async with working(*kinds, concurrency=1):
        job_id = fake.add("test.kind")
        await eventually(hangs)
        fake.cancelling.add(job_id)
        assert (await ended(job_id)).cancelled.reason == "requested"
        # The slot is free again.
        assert (await ended(fake.add("test.next"))).failed.error.code == "no_such_shop"
        child = int(fake.checkpoints[job_id]["child"].number_value)
        await eventually(functools.partial(_is_gone, child))


async def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_heartbeats_continue_beside_a_thread(fake: Fake, working: Any, ended: Any, eventually: Any) -> None:
    release = threading.Event()

    def block(context: worker.BlockingContext) -> None:
        release.wait(30)

    async def several_beats() -> bool:
        return len(fake.beats) > 3

    async with working(worker.Kind("test.kind", block, pool="thread")):
        job_id = fake.add("test.kind")
        await eventually(several_beats)
        release.set()
        assert (await ended(job_id)).WhichOneof("outcome") == "completed"


async def test_stuck_thread_keeps_its_slot_and_its_calls_are_refused(
    fake: Fake, working: Any, ended: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, refused = threading.Event(), threading.Event()

    def deaf(context: worker.BlockingContext) -> None:
        release.wait(30)
        try:
            context.checkpoint("too late")
        except worker.Cancelled:
            refused.set()

    async def fine(context: worker.Context) -> None:
        assert release.is_set()

    turns: list[str] = []
    beat = liveness.Liveness.beat

    def counting(self: liveness.Liveness, loop: str) -> None:
        turns.append(loop)
        beat(self, loop)

    async def turns_on() -> bool:
        return turns.count(claims.LOOP) > 10

    monkeypatch.setattr(claims, "FREE_SLOT_SECONDS", 0.01)
    monkeypatch.setattr(liveness.Liveness, "beat", counting)
    kinds = [worker.Kind("test.deaf", deaf, pool="thread"), worker.Kind("test.fine", fine)]
    async with working(*kinds, concurrency=1):
        first = fake.add("test.deaf")
        fake.jobs[first].spec.attempt_timeout.FromTimedelta(timedelta(milliseconds=50))
        assert (await ended(first)).failed.error.code == "attempt_timeout"
        second = fake.add("test.fine")
        turns.clear()
        await eventually(turns_on)
        release.set()
        assert (await ended(second)).WhichOneof("outcome") == "completed"
        assert await asyncio.to_thread(refused.wait, 10)
    assert first not in fake.checkpoints


@pytest.mark.parametrize("is_resolved", [False, True])
async def test_thread_that_ends_as_its_attempt_is_stopped_keeps_no_slot(
    jobs: worker.JobsClient, is_resolved: bool
) -> None:
    ending: queue.Queue[threading.Thread] = queue.Queue()
    pool = threads.Threads(on_free=lambda: None)
    context = contexts.Context(
        job_id="a", owner_id="b", kind="test.kind", attempt=1, payload={}, children=worker.Children(), service=jobs
    )
    task = asyncio.create_task(pool.run(lambda _: ending.put(threading.current_thread()), context))
    await asyncio.sleep(0)
    # The event loop stands still until the thread has ended: its result arrives together with the cancellation.
    ending.get(timeout=10).join(10)
    if is_resolved:
        asyncio.get_running_loop().call_soon(task.cancel)
    else:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert pool.stuck == 0


async def test_process_of_an_attempt_that_ends_before_its_thread_runs_gets_no_other_job(
    fake: Fake, working: Any, ended: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, held = threading.Thread.start, list[threading.Thread]()

    def hold(thread: threading.Thread) -> None:
        held.append(thread) if thread.name.startswith("test.held ") else start(thread)

    async def is_held() -> bool:
        return bool(held)

    monkeypatch.setattr(threading.Thread, "start", hold)
    kinds = [worker.Kind(name, everything, pool="process") for name in ("test.kind", "test.held")]
    async with working(*kinds, concurrency=2):
        first = await ended(fake.add("test.kind", {"n": 1}))
        cancelled = fake.add("test.held", {"n": 2})
        await eventually(is_held)
        fake.cancelling.add(cancelled)
        assert (await ended(cancelled)).cancelled.reason == "requested"
        second = await ended(fake.add("test.kind", {"n": 3}))
        start(held[0])
        await asyncio.to_thread(held[0].join, 10)
    used, other = (protobuf.from_struct(outcome.completed.result)["pid"] for outcome in (first, second))
    assert used != other
    assert cancelled not in fake.checkpoints
