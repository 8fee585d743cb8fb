"""The admin API: overview, limits, pauses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres
from repruv.jobs.v1 import admin_service_pb2, jobs_service_pb2, kind_pb2
from repruv.jobs.v1.admin_service_pb2 import JobFilter
from repruv.jobs.v1.kind_pb2 import KindLimits
from services.jobs import outcomes
from services.jobs.operators import convert, overview
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi


async def call_admin(jobs_api: JobsApi, rpc: str, **fields: Any) -> Any:
    """Call as the admin tool does."""
    request = getattr(admin_service_pb2, f"{rpc}Request")(**fields)
    return await jobs_api.call(getattr(jobs_api.admin, rpc), request, service="jobs")


async def get_kind(jobs_api: JobsApi, kind: str) -> kind_pb2.Kind:
    """Return a kind."""
    kinds: list[kind_pb2.Kind] = list((await call_admin(jobs_api, "ListKinds")).kinds)
    assert [item.kind for item in kinds] == sorted(item.kind for item in kinds)
    return next(item for item in kinds if item.kind == kind)


async def limit(jobs_api: JobsApi, kind: str, **limits: Any) -> kind_pb2.Kind:
    """Set limits."""
    answer: kind_pb2.Kind = (await call_admin(jobs_api, "SetKindLimits", kind=kind, limits=KindLimits(**limits))).kind
    return answer


def seconds(number: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=number))
    return message


@pytest.mark.parametrize("change", ["RETRY", "CANCEL"])
async def test_a_change_of_jobs_is_refused_where_a_field_of_its_filter_could_be_ignored(
    jobs_api: JobsApi, change: str
) -> None:
    """Release 1.0 ignores the fields after `fingerprint`, and refuses the later values of a change."""
    kind = f"demo.{uuid4().hex}"
    fingerprinted, paused = JobFilter(kinds=[kind], fingerprint="f"), JobFilter(kinds=[kind], problem="paused")
    first, second = f"JOB_CHANGE_{change}", f"JOB_CHANGE_{change}_V2"
    for selected, value in ((fingerprinted, first), (fingerprinted, second), (paused, second)):
        answer = await call_admin(jobs_api, "ChangeJobs", filter=selected, change=value, dry_run=True)
        assert answer.counts.count == 0
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await call_admin(jobs_api, "ChangeJobs", filter=paused, change=first, dry_run=True)
    assert excinfo.value.field == "change"
    of_next_release = JobFilter.FromString(fingerprinted.SerializeToString() + b"\xfa\x01\x01x")
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await call_admin(jobs_api, "ChangeJobs", filter=of_next_release, change=second, dry_run=True)
    assert excinfo.value.field == "filter"


async def test_only_admins_and_the_tool_are_admitted(jobs_api: JobsApi) -> None:
    request = admin_service_pb2.ListKindsRequest()
    await jobs_api.call(jobs_api.admin.ListKinds, request, service="gateway", user=str(uuid4()), role="admin")
    await jobs_api.call(jobs_api.admin.ListKinds, request, service="jobs")


@pytest.mark.parametrize("rpc", admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].methods_by_name)
async def test_others_are_refused(jobs_api: JobsApi, rpc: str) -> None:
    method, request = getattr(jobs_api.admin, rpc), getattr(admin_service_pb2, f"{rpc}Request")()
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await jobs_api.call(method, request, service="gateway", user=str(uuid4()))
    assert excinfo.value.code == "admin_required"
    with pytest.raises(errors.Unauthenticated):
        await jobs_api.call(method, request, service="gateway")
    if rpc != "SearchJobs":
        with pytest.raises(errors.PermissionDenied):
            await jobs_api.call(method, request, service="demo")


async def test_kinds_are_counted_by_state(jobs_api: JobsApi, kind: str) -> None:
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind, notify_owner=True, retention=seconds(3600)))
    for _ in range(4):
        await jobs_api.submit(kind)
    ended, running = await jobs_api.claim(kind, 2)
    await jobs_api.finish(ended)
    later = await jobs_api.submit(kind)
    later.spec.run_at.GetCurrentTime()
    later.spec.run_at.seconds += 3600
    await jobs_api.submit(kind, run_at=later.spec.run_at)
    await jobs_api.submit(kind, concurrency_key="k")
    await jobs_api.submit(kind, concurrency_key="k")
    state = await get_kind(jobs_api, kind)
    assert dict(state.counts) == {"pending": 5, "running": 1, "scheduled": 1}
    assert (state.has_worker, state.registration.notify_owner, state.registration.retention) == (
        True,
        True,
        seconds(3600),
    )
    assert state.oldest_waiting_time.ToDatetime() > running.create_time.ToDatetime()
    assert not (await get_kind(jobs_api, "*")).counts


async def test_jobs_waiting_for_children_are_counted(jobs_api: JobsApi, kind: str) -> None:
    parent = await jobs_api.submit(kind)
    (claimed_job,) = await jobs_api.claim(kind)
    await jobs_api.submit(f"{kind}.child", parent.spec.owner_id, parent_id=parent.job_id)
    await jobs_api.finish(claimed_job, waiting=jobs_service_pb2.FinishJobRequest.Waiting())
    state = await get_kind(jobs_api, kind)
    assert (dict(state.counts), state.HasField("oldest_waiting_time")) == ({"scheduled": 1}, False)


async def test_unregistered_kind_has_no_worker(jobs_api: JobsApi, kind: str) -> None:
    await jobs_api.submit(kind)
    state = await get_kind(jobs_api, kind)
    assert (state.has_worker, state.HasField("registration"), state.HasField("register_time")) == (False, False, False)


async def test_limits_hold_and_raising_one_starts_jobs_at_once(jobs_api: JobsApi, kind: str) -> None:
    state = await limit(jobs_api, kind, max_running=1, rate_count=100, rate_period=seconds(60))
    assert (state.limits.max_running, state.limits.max_running_per_key, state.limits.rate_count) == (1, 1, 100)
    for _ in range(3):
        await jobs_api.submit(kind)
    assert len(await jobs_api.claim(kind, 3)) == 1
    assert await jobs_api.claim(kind, 3) == []
    await limit(jobs_api, kind, max_running=2)
    assert len(await jobs_api.claim(kind, 3)) == 1
    await limit(jobs_api, kind)
    assert len(await jobs_api.claim(kind, 3)) == 1


async def test_new_rate_starts_with_a_burst_and_setting_it_again_adds_no_tokens(jobs_api: JobsApi, kind: str) -> None:
    for _ in range(5):
        await jobs_api.submit(kind)
    await limit(jobs_api, kind, rate_count=2, rate_period=seconds(86_400))
    assert len(await jobs_api.claim(kind, 5)) == 2
    await limit(jobs_api, kind, rate_count=3, rate_period=seconds(86_400))
    assert await jobs_api.claim(kind, 5) == []


async def test_added_slots_of_a_concurrency_key_are_filled_at_once(jobs_api: JobsApi, kind: str) -> None:
    for _ in range(4):
        await jobs_api.submit(kind, concurrency_key="one")
    assert len(await jobs_api.claim(kind, 4)) == 1
    await limit(jobs_api, kind, max_running_per_key=3)
    assert len(await jobs_api.claim(kind, 4)) == 2


async def test_no_job_of_a_paused_kind_starts(jobs_api: JobsApi, kind: str) -> None:
    await jobs_api.submit(kind)
    paused = (await call_admin(jobs_api, "PauseKind", kind=kind)).kind
    again = (await call_admin(jobs_api, "PauseKind", kind=kind)).kind
    assert again.pause_time == paused.pause_time
    assert await jobs_api.claim(kind) == []
    for _ in range(2):
        assert not (await call_admin(jobs_api, "ResumeKind", kind=kind)).kind.HasField("pause_time")
    assert len(await jobs_api.claim(kind)) == 1


@pytest.mark.parametrize(
    ("kind_", "limits", "field"),
    [
        ("", {}, "kind"),
        ("Not A Kind", {}, "kind"),
        ("demo.x", {"max_running": -1}, "max_running"),
        ("demo.x", {"max_running_per_key": -1}, "max_running_per_key"),
        ("*", {"max_running_per_key": 2}, "max_running_per_key"),
        ("demo.x", {"rate_count": -1}, "rate_count"),
        ("demo.x", {"rate_count": 1}, "rate_period"),
        ("demo.x", {"rate_period": seconds(1)}, "rate_period"),
        ("demo.x", {"rate_count": 1, "rate_period": seconds(0)}, "rate_period"),
        ("demo.x", {"rate_count": 1, "rate_period": seconds(-1)}, "rate_period"),
        ("demo.x", {"rate_count": 1, "rate_period": seconds(86_401)}, "rate_period"),
    ],
)
async def test_invalid_limits_are_named(jobs_api: JobsApi, kind_: str, limits: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await limit(jobs_api, kind_, **limits)
    assert excinfo.value.field == field


async def test_workers_are_listed_with_their_jobs(jobs_api: JobsApi, kind: str) -> None:
    name = f"worker-{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind), worker=name)
    await jobs_api.submit(kind)
    request = jobs_service_pb2.ClaimJobsRequest(worker=name, kinds=[kind], max_jobs=1)
    await jobs_api.call(jobs_api.jobs.ClaimJobs, request)
    workers = {item.worker: item for item in (await call_admin(jobs_api, "ListWorkers")).workers}
    state = workers[name]
    assert (list(state.kinds), state.held_count, state.HasField("lease_time")) == ([kind], 1, True)


# --- on a separate database, where time passes by shifting rows ---

ALL = 1_000_000
"""More than other tests leave in the database: their jobs may be older."""


@pytest.fixture
def operator_view(jobs_engine: AsyncEngine) -> overview.Overview:
    """Return the overview of that database."""
    return overview.Overview(jobs_engine)


async def change(engine: AsyncEngine, statement: str, **fields: Any) -> None:
    async with engine.begin() as conn:
        await conn.execute(sa.text(statement), fields)


async def test_deleted_kind_is_listed_while_it_has_jobs(
    operator_view: overview.Overview, jobs_engine: AsyncEngine, submit_job: Any, kind: str
) -> None:
    await submit_job(run_at=datetime.now(UTC) + timedelta(days=3))
    await change(jobs_engine, "DELETE FROM jobs.kinds WHERE kind = :kind", kind=kind)
    kinds = {item.kind: item for item in map(convert.kind_to_proto, await operator_view.list_kinds())}
    assert (dict(kinds[kind].counts), kinds[kind].limits.max_running_per_key) == ({"scheduled": 1}, 1)


async def test_jobs_that_need_attention_are_listed_with_the_reason(
    operator_view: overview.Overview, jobs_engine: AsyncEngine, jobs: Any, submit_job: Any, kind: str
) -> None:
    async def reason(job_id: UUID) -> str | None:
        stuck = await operator_view.list_stuck(limit=ALL)
        assert [item.age for item in stuck] == sorted((item.age for item in stuck), reverse=True)
        return next((item.reason for item in stuck if item.job.job_id == job_id), None)

    await jobs.kinds.get([kind])
    job = await submit_job()
    assert await reason(job.job_id) == "no_worker"
    await change(jobs_engine, "UPDATE jobs.kinds SET declared_at = now() WHERE kind = :kind", kind=kind)
    assert await reason(job.job_id) is None
    await change(jobs_engine, "UPDATE jobs.kinds SET paused_at = now() WHERE kind = :kind", kind=kind)
    assert await reason(job.job_id) == "paused"
    await change(jobs_engine, "UPDATE jobs.kinds SET paused_at = NULL WHERE kind = :kind", kind=kind)
    aged = "UPDATE jobs.jobs SET run_at = now() - interval '6 minutes' WHERE job_id = :job_id"
    await change(jobs_engine, aged, job_id=job.job_id)
    assert await reason(job.job_id) == "waiting"

    (claimed_job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    assert await reason(job.job_id) is None
    aged = "UPDATE jobs.attempts SET started_at = now() - interval '1 hour' WHERE job_id = :job_id"
    await change(jobs_engine, aged, job_id=job.job_id)
    assert await reason(job.job_id) == "overrun"
    await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    assert await reason(job.job_id) is None
    aged = "UPDATE jobs.job_events SET occurred_at = now() - interval '2 minutes' WHERE job_id = :job_id"
    await change(jobs_engine, aged, job_id=job.job_id)
    assert await reason(job.job_id) == "cancelling"
    await jobs.finish(job.job_id, claimed_job.attempt, outcomes.Cancelled(reason="requested"))
    assert await reason(job.job_id) is None


async def test_jobs_of_dying_workers_are_listed(
    operator_view: overview.Overview, jobs_engine: AsyncEngine, jobs: Any, submit_job: Any, kind: str
) -> None:
    await jobs.kinds.get([kind])
    job = await submit_job()
    await change(jobs_engine, "UPDATE jobs.kinds SET declared_at = now() WHERE kind = :kind", kind=kind)
    for crashes in (1, 2):
        await jobs.claim(worker="w", kinds=[kind], limit=1)
        expire = "UPDATE jobs.jobs SET lease_until = now() - interval '1 s' WHERE job_id = :job_id"
        await change(jobs_engine, expire, job_id=job.job_id)
        await jobs_helpers.rescue(jobs)
        stuck = {item.job.job_id: item for item in await operator_view.list_stuck(limit=ALL)}
        assert (job.job_id in stuck) == (crashes == 2)
    assert stuck[job.job_id].reason == "crashing"
    assert timedelta() < stuck[job.job_id].age < timedelta(minutes=1)


async def test_ended_jobs_cost_nothing(create_database: Callable[[], Callable[[str], str]]) -> None:
    """The plans read no rows of ended jobs. In a separate database: a plan depends on the jobs that other tests leave."""
    engine = postgres.engine(create_database()("jobs"), name="test-ended", pool_size=2)
    insert = """
        INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, max_attempts, backoff, max_backoff,
            attempt_timeout, state, run_at, finished_at, attempt, started_at, result)
        SELECT gen_random_uuid(), gen_random_uuid(), 'test.ended', '{}', 0, 3, 3, '1 s', '1 min', '1 min', 'completed',
            now(), now(), 1, now(), '{}'
        FROM generate_series(1, 20000)
    """
    await change(engine, insert)
    fields = {
        "alive": overview.ALIVE,
        "kind": None,
        "waiting": overview.WAITING_TOO_LONG,
        "cancelling": overview.CANCELLING_TOO_LONG,
        "crashes": outcomes.SUSPECT_CRASHES,
        "limit": 20,
    }
    async with engine.connect() as conn:
        await conn.execute(sa.text("ANALYZE jobs.jobs"))
        for statement in (overview.KINDS, overview.WORKERS, overview.STUCK):
            names = statement.compile().params
            explained = sa.text(f"EXPLAIN (ANALYZE, COSTS OFF) {statement.text}")
            plan = (await conn.execute(explained, {name: fields[name] for name in names})).scalars().all()
            assert not [line for line in plan if "Seq Scan on jobs " in line], "\n".join(plan)
        await conn.rollback()
    await engine.dispose()
