"""What operators see and steer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from repruv.jobs.v1 import admin_service_pb2, jobs_service_pb2, kind_pb2
from repruv.jobs.v1.kind_pb2 import KindLimits
from services.jobs import domain
from services.jobs.maintenance import Maintenance
from services.jobs.operators import convert, overview
from tests.integration.jobs.jobs_server import Served


async def ask(served: Served, rpc: str, **given: Any) -> Any:
    """Call as the admin's tool."""
    request = getattr(admin_service_pb2, f"{rpc}Request")(**given)
    return await served.call(getattr(served.admin, rpc), request, service="jobs")


async def found(served: Served, kind: str) -> kind_pb2.Kind:
    """Return a kind."""
    kinds: list[kind_pb2.Kind] = list((await ask(served, "ListKinds")).kinds)
    assert [one.kind for one in kinds] == sorted(one.kind for one in kinds)
    return next(one for one in kinds if one.kind == kind)


async def limit(served: Served, kind: str, **limits: Any) -> kind_pb2.Kind:
    """Set limits."""
    answer: kind_pb2.Kind = (await ask(served, "SetKindLimits", kind=kind, limits=KindLimits(**limits))).kind
    return answer


def seconds(number: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=number))
    return message


@pytest.mark.parametrize(
    "rpc", ["ListKinds", "SetKindLimits", "PauseKind", "ResumeKind", "ListStuckJobs", "ListWorkers"]
)
async def test_only_admins_and_the_tool_may(served: Served, kind: str, rpc: str) -> None:
    given = {"kind": kind} if rpc in {"SetKindLimits", "PauseKind", "ResumeKind"} else {}
    method, request = getattr(served.admin, rpc), getattr(admin_service_pb2, f"{rpc}Request")(**given)
    await served.call(method, request, service="gateway", user=str(uuid4()), role="admin")
    await served.call(method, request, service="jobs")
    with pytest.raises(errors.PermissionDenied) as caught:
        await served.call(method, request, service="gateway", user=str(uuid4()))
    assert caught.value.code == "admin_required"
    with pytest.raises(errors.Unauthenticated):
        await served.call(method, request, service="gateway")
    with pytest.raises(errors.PermissionDenied):
        await served.call(method, request, service="demo")


async def test_kinds_are_counted_by_state(served: Served, kind: str) -> None:
    await served.declare(kind_pb2.KindDeclaration(kind=kind, notify_owner=True, retention=seconds(3600)))
    for _ in range(4):
        await served.submit(kind)
    ended, running = await served.claim(kind, 2)
    await served.finish(ended)
    later = await served.submit(kind)
    later.spec.run_at.GetCurrentTime()
    later.spec.run_at.seconds += 3600
    await served.submit(kind, run_at=later.spec.run_at)
    await served.submit(kind, concurrency_key="k")
    await served.submit(kind, concurrency_key="k")
    seen = await found(served, kind)
    assert dict(seen.counts) == {"pending": 5, "running": 1, "scheduled": 1}
    assert (seen.has_worker, seen.declaration.notify_owner, seen.declaration.retention) == (True, True, seconds(3600))
    assert seen.oldest_waiting_time.ToDatetime() > running.create_time.ToDatetime()
    assert not (await found(served, "*")).counts


async def test_what_waits_for_children_is_counted_too(served: Served, kind: str) -> None:
    parent = await served.submit(kind)
    (claimed,) = await served.claim(kind)
    await served.submit(f"{kind}.child", parent.spec.owner_id, parent_id=parent.job_id)
    await served.finish(claimed, waiting=jobs_service_pb2.FinishJobRequest.Waiting())
    seen = await found(served, kind)
    assert (dict(seen.counts), seen.HasField("oldest_waiting_time")) == ({"scheduled": 1}, False)


async def test_a_kind_that_nobody_declared_is_unserved(served: Served, kind: str) -> None:
    await served.submit(kind)
    seen = await found(served, kind)
    assert (seen.has_worker, seen.HasField("declaration"), seen.HasField("register_time")) == (False, False, False)


async def test_limits_hold_and_what_they_allow_more_begins_at_once(served: Served, kind: str) -> None:
    seen = await limit(served, kind, max_running=1, rate_count=100, rate_period=seconds(60))
    assert (seen.limits.max_running, seen.limits.max_running_per_key, seen.limits.rate_count) == (1, 1, 100)
    for _ in range(3):
        await served.submit(kind)
    assert len(await served.claim(kind, 3)) == 1
    assert await served.claim(kind, 3) == []
    await limit(served, kind, max_running=2)
    assert len(await served.claim(kind, 3)) == 1
    await limit(served, kind)
    assert len(await served.claim(kind, 3)) == 1


async def test_a_rate_begins_with_a_burst_and_is_not_refilled_by_setting_it_again(served: Served, kind: str) -> None:
    for _ in range(5):
        await served.submit(kind)
    await limit(served, kind, rate_count=2, rate_period=seconds(86_400))
    assert len(await served.claim(kind, 5)) == 2
    await limit(served, kind, rate_count=3, rate_period=seconds(86_400))
    assert await served.claim(kind, 5) == []


async def test_more_places_for_a_concurrency_key_are_given_away_at_once(served: Served, kind: str) -> None:
    for _ in range(4):
        await served.submit(kind, concurrency_key="one")
    assert len(await served.claim(kind, 4)) == 1
    await limit(served, kind, max_running_per_key=3)
    assert len(await served.claim(kind, 4)) == 2


async def test_nothing_of_a_paused_kind_begins(served: Served, kind: str) -> None:
    await served.submit(kind)
    paused = (await ask(served, "PauseKind", kind=kind)).kind
    again = (await ask(served, "PauseKind", kind=kind)).kind
    assert again.pause_time == paused.pause_time
    assert await served.claim(kind) == []
    for _ in range(2):
        assert not (await ask(served, "ResumeKind", kind=kind)).kind.HasField("pause_time")
    assert len(await served.claim(kind)) == 1


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
async def test_limits_that_make_no_sense_are_named(
    served: Served, kind_: str, limits: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await limit(served, kind_, **limits)
    assert caught.value.field == field


async def test_workers_are_seen_with_what_they_hold(served: Served, kind: str) -> None:
    name = f"worker-{uuid4().hex}"
    await served.declare(kind_pb2.KindDeclaration(kind=kind), worker=name)
    await served.submit(kind)
    request = jobs_service_pb2.ClaimJobsRequest(worker=name, kinds=[kind], max_jobs=1)
    await served.call(served.jobs.ClaimJobs, request)
    workers = {one.worker: one for one in (await ask(served, "ListWorkers")).workers}
    seen = workers[name]
    assert (list(seen.kinds), seen.held_count, seen.HasField("lease_time")) == ([kind], 1, True)


# --- on a database of their own, whose clock is turned ---


@pytest.fixture
def seen(jobs_engine: AsyncEngine) -> overview.Overview:
    """Return the overview of that database."""
    return overview.Overview(jobs_engine)


async def change(engine: AsyncEngine, statement: str, **given: Any) -> None:
    async with engine.begin() as conn:
        await conn.execute(sa.text(statement), given)


async def test_a_kind_that_was_forgotten_is_listed_while_it_has_jobs(
    seen: overview.Overview, jobs_engine: AsyncEngine, submitted: Any, kind: str
) -> None:
    await submitted(run_at=datetime.now(UTC) + timedelta(days=3))
    await change(jobs_engine, "DELETE FROM jobs.kinds WHERE kind = :kind", kind=kind)
    kinds = {one.kind: one for one in map(convert.kind_to_proto, await seen.list_kinds())}
    assert (dict(kinds[kind].counts), kinds[kind].limits.max_running_per_key) == ({"scheduled": 1}, 1)


async def test_jobs_that_need_somebodys_eye_are_found_with_the_reason(
    seen: overview.Overview, jobs_engine: AsyncEngine, jobs: Any, submitted: Any, kind: str
) -> None:
    async def reason(job_id: UUID) -> str | None:
        stuck = await seen.list_stuck(limit=100)
        assert [one.age for one in stuck] == sorted((one.age for one in stuck), reverse=True)
        return next((one.reason for one in stuck if one.job.job_id == job_id), None)

    await jobs.kinds.get([kind])
    job = await submitted()
    assert await reason(job.job_id) == "no_worker"
    await change(jobs_engine, "UPDATE jobs.kinds SET declared_at = now() WHERE kind = :kind", kind=kind)
    assert await reason(job.job_id) is None
    await change(jobs_engine, "UPDATE jobs.kinds SET paused_at = now() WHERE kind = :kind", kind=kind)
    assert await reason(job.job_id) == "paused"
    await change(jobs_engine, "UPDATE jobs.kinds SET paused_at = NULL WHERE kind = :kind", kind=kind)
    aged = "UPDATE jobs.jobs SET run_at = now() - interval '6 minutes' WHERE job_id = :job_id"
    await change(jobs_engine, aged, job_id=job.job_id)
    assert await reason(job.job_id) == "waiting"

    (claimed,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    assert await reason(job.job_id) is None
    aged = "UPDATE jobs.attempts SET started_at = now() - interval '1 hour' WHERE job_id = :job_id"
    await change(jobs_engine, aged, job_id=job.job_id)
    assert await reason(job.job_id) == "overrun"
    await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    assert await reason(job.job_id) is None
    aged = "UPDATE jobs.job_events SET occurred_at = now() - interval '2 minutes' WHERE job_id = :job_id"
    await change(jobs_engine, aged, job_id=job.job_id)
    assert await reason(job.job_id) == "cancelling"
    await jobs.finish(job.job_id, claimed.attempt, domain.Cancelled(reason="requested"))
    assert await reason(job.job_id) is None


async def test_jobs_whose_workers_die_are_found(
    seen: overview.Overview, jobs_engine: AsyncEngine, jobs: Any, submitted: Any, kind: str
) -> None:
    await jobs.kinds.get([kind])
    job = await submitted()
    await change(jobs_engine, "UPDATE jobs.kinds SET declared_at = now() WHERE kind = :kind", kind=kind)
    for crashes in (1, 2):
        await jobs.claim(worker="w", kinds=[kind], limit=1)
        expire = "UPDATE jobs.jobs SET lease_until = now() - interval '1 s' WHERE job_id = :job_id"
        await change(jobs_engine, expire, job_id=job.job_id)
        await Maintenance(jobs).rescue(grace=timedelta())
        stuck = {one.job.job_id: one for one in await seen.list_stuck(limit=100)}
        assert (job.job_id in stuck) == (crashes == 2)
    assert stuck[job.job_id].reason == "crashing"
    assert timedelta() < stuck[job.job_id].age < timedelta(minutes=1)


async def test_what_has_ended_costs_nothing(jobs_engine: AsyncEngine) -> None:
    """The plans read no rows of ended jobs, however many there are."""
    insert = """
        INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, max_attempts, backoff, max_backoff,
            attempt_timeout, state, run_at, finished_at, attempt, started_at, result)
        SELECT gen_random_uuid(), gen_random_uuid(), 'test.ended', '{}', 0, 3, 3, '1 s', '1 min', '1 min', 'completed',
            now(), now(), 1, now(), '{}'
        FROM generate_series(1, 20000)
    """
    await change(jobs_engine, insert)
    given = {
        "alive": overview.ALIVE,
        "kind": None,
        "waiting": overview.WAITING_TOO_LONG,
        "cancelling": overview.CANCELLING_TOO_LONG,
        "crashes": overview.CRASHING,
        "limit": 20,
    }
    async with jobs_engine.connect() as conn:
        await conn.execute(sa.text("ANALYZE jobs.jobs"))
        for statement in (overview.KINDS, overview.WORKERS, overview.STUCK):
            names = statement.compile().params
            explained = sa.text(f"EXPLAIN (ANALYZE, COSTS OFF) {statement.text}")
            plan = (await conn.execute(explained, {name: given[name] for name in names})).scalars().all()
            assert not [line for line in plan if "Seq Scan on jobs " in line], "\n".join(plan)
        await conn.rollback()
    await change(jobs_engine, "DELETE FROM jobs.jobs WHERE kind = 'test.ended'")
