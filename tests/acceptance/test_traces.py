"""One trace from the click to the frame: what a request causes in all processes is one tree of spans."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from chassis import ids
from tests import traces
from tests.acceptance import waiting
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User

SIZES = {"content_count": 2, "interaction_count": 20}
ENABLE, SUBMIT, FINISH = (
    f"repruv.{rpc}"
    for rpc in ("demo.v1.DemoService/EnableDemo", "jobs.v1.JobsService/SubmitJob", "jobs.v1.JobsService/FinishJobs")
)
SUBMITTED = ("gateway: POST /demo/enable", f"gateway: {ENABLE}", f"demo: {ENABLE}", "demo: transaction", "demo: outbox")
STORED = (*SUBMITTED, f"demo: {SUBMIT}", f"jobs: {SUBMIT}")
STORED_EVENTS = "jobs: INSERT jobs.job_events, COMMIT"
RUN = (*STORED, "demo-worker: attempt demo.enable")
SHOWN = ("jobs: publish jobs.live_events", "gateway: receive jobs.live_events", "gateway: stream frame")
FINISHED = (*RUN, f"demo-worker: {FINISH}", f"jobs: {FINISH}")


def passes(spans: Sequence[traces.Span], *parts: str) -> bool:
    """Return whether spans of these names follow each other on a path from the root, with others between them."""
    for span in spans:
        names = iter(traces.path_to(spans, span))
        if all(part in names for part in parts):
            return True
    return False


def recorded(backend: traces.Backend, trace_id: str, *parts: str) -> Callable[[], Awaitable[bool]]:
    """Return whether all spans of a trace are one tree, and spans of these names follow each other in it."""

    async def probe() -> bool:
        spans = backend.spans(trace_id)
        try:
            return passes(spans, *parts)
        except KeyError:
            return False  # a parent is not exported yet

    return probe


async def test_an_enable_is_one_tree_of_spans_from_the_click_to_the_frame(
    user: User, trace_backend: traces.Backend, system: System
) -> None:
    trace_id = ids.uuid7().hex
    async with Stream(user) as stream:
        answer = await user.post("/demo/enable", json=SIZES, headers=traces.traceparent(trace_id))
        assert answer.status_code == 202
        assert answer.headers["x-request-id"] == trace_id
        job_id = answer.json()["job_id"]
        await stream.tells_end(job_id, "completed")
    paths = (
        (*STORED, "jobs: batch submit_batch", "jobs: transaction", STORED_EVENTS),
        (*STORED, *SHOWN),
        (*RUN, "demo-worker: handler demo.enable", "demo-worker: transaction", "demo-worker: COPY demo.interactions"),
        (*RUN, "demo-worker: handler demo.enable", "demo-worker: publish demo.events", "gateway: stream frame"),
        (*FINISHED, "jobs: transaction", STORED_EVENTS),
        (*FINISHED, *SHOWN),
    )
    for path in paths:
        await waiting.until(recorded(trace_backend, trace_id, *path), f"the trace has {path}")
    spans = trace_backend.spans(trace_id)
    [attempt] = [span for span in spans if span.name == "attempt demo.enable"]
    assert attempt.attributes.items() >= {"job.id": job_id, "job.attempt": 1, "job.outcome": "completed"}.items()
    [frame] = [span for span in spans if span.name == "stream frame" and passes(spans, *FINISHED, *SHOWN)][-1:]
    assert frame.attributes["stream.count"] == 1
    [row] = await system.query("SELECT traceparent FROM jobs.jobs WHERE job_id = %s", job_id)
    assert row["traceparent"][3:35] == trace_id


async def test_a_trace_goes_on_from_the_database_after_a_crash(
    user: User, trace_backend: traces.Backend, system: System
) -> None:
    trace_id = ids.uuid7().hex
    async with system.down("jobs"):
        answer = await user.post("/demo/enable", json=SIZES, headers=traces.traceparent(trace_id))
        assert answer.status_code == 202
        await system.kill("demo")
    await system.start("demo")
    await user.wait_for_job(answer.json()["job_id"], "completed")
    # Spans that the killed process had not exported are lost. Another relay sends its messages.
    await waiting.until(
        lambda: _has(trace_backend, trace_id, f"jobs: {SUBMIT}", "demo-worker: attempt demo.enable"),
        "the trace goes on",
    )


async def test_requests_without_a_trace_to_continue_are_recorded_by_ratio(
    user: User, trace_backend: traces.Backend
) -> None:
    answer = await user.get("/demo/status")
    traced = await user.get("/demo/status", headers=traces.traceparent(ids.uuid7().hex))
    trace_id = traced.headers["x-request-id"]
    await waiting.until(recorded(trace_backend, trace_id, "gateway: GET /demo/status"), "the later request is exported")
    assert not trace_backend.spans(answer.headers["x-request-id"])


async def _has(backend: traces.Backend, trace_id: str, *names: str) -> bool:
    return set(names) <= {f"{span.service}: {span.name}" for span in backend.spans(trace_id)}
