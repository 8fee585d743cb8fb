"""The lifecycle against a model, in whatever order things happen: Hypothesis looks for the order that breaks a promise.

The database is real; time passes by shifting rows. Promises: at most one effective finish an attempt and a stale one never
changes anything, terminal states change by a retry only, the owner's sequence has no gaps, attempts stay within bounds, and
whatever can run can be claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chassis import bus, errors, ids, outbox, postgres
from repruv.jobs.v1 import job_events_pb2, job_pb2
from services.jobs import domain, operations, schema
from services.jobs.domain import State

MAX_JOBS = 3
"""Few, so that what happens to one is likely to happen to the same one again."""
WHICH = st.integers(0, 11)
OUTCOMES = st.sampled_from(
    [
        domain.Completed(result={"done": True}),
        domain.Failed(error=domain.JobError(code="boom", message="It broke."), retryable=True),
        domain.Failed(error=domain.JobError(code="final", message="It broke for good."), retryable=False),
        domain.Cancelled(reason="superseded"),
        domain.Released(),
    ]
)


def machine(run: Callable[[Coroutine[Any, Any, Any]], Any], jobs: operations.Operations, engine: Any) -> type[Any]:
    """Make the machine over one database."""

    class Lifecycle(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.owner_id = uuid4()
            self.kind = f"machine.{uuid4().hex}"
            self.seen: dict[UUID, domain.Job] = {}
            self.tokens: list[tuple[UUID, int]] = []
            self.ended_attempts: dict[tuple[UUID, int], str] = {}

        @precondition(lambda self: self.seen)
        @rule(which=WHICH, act=st.sampled_from(("submit_again", "cancel", "retry", "retry")))
        def owner(self, which: int, act: str) -> None:
            getattr(self, act)(self.job(which))

        @precondition(lambda self: self.seen)
        @rule(which=WHICH, act=st.sampled_from(("worker_dies", "time_passes", "rescue_finds_nobody_who_lives")))
        def world(self, which: int, act: str) -> None:
            getattr(self, act)(self.job(which))

        @precondition(lambda self: self.tokens)
        @rule(which=WHICH, outcome=OUTCOMES, done=st.integers(0, 10))
        def worker(self, which: int, outcome: domain.Outcome, done: int) -> None:
            """Let an attempt, living or overtaken, do all that a worker does."""
            token = self.token(which)
            self.heartbeat(*token)
            self.report(*token, done)
            self.finish(*token, outcome)

        @precondition(lambda self: len(self.seen) < MAX_JOBS)
        @rule(max_attempts=st.integers(1, 3))
        def submit(self, max_attempts: int) -> None:
            spec = domain.Spec(kind=self.kind, owner_id=self.owner_id, payload={}, max_attempts=max_attempts)
            job_id = ids.uuid7()
            job, is_new = run(jobs.submit(job_id, spec))
            assert is_new
            self.seen[job_id] = job

        def submit_again(self, job_id: UUID) -> None:
            job, is_new = run(jobs.submit(job_id, self.seen[job_id].spec))
            assert not is_new
            assert job == self.now(job_id)

        @precondition(lambda self: any(job.state in domain.CLAIMABLE for job in self.seen.values()))
        @rule(limit=st.integers(1, 3))
        def claim(self, limit: int) -> None:
            claimed = run(jobs.claim(worker="w", kinds=[self.kind], limit=limit))
            for job in claimed:
                before = self.seen[job.job_id]
                assert before.state in domain.CLAIMABLE
                assert job.attempt == before.attempt + 1
                self.seen[job.job_id] = job
                self.tokens.append((job.job_id, job.attempt))

        def finish(self, job_id: UUID, attempt: int, outcome: domain.Outcome) -> None:
            before = self.now(job_id)
            is_current = before.attempt == attempt and before.state in domain.HELD
            told_before = self.ended_attempts.get((job_id, attempt)) == domain.outcome_name(outcome)
            try:
                after = run(jobs.finish(job_id, attempt, outcome))
            except errors.Aborted:
                assert not is_current
                assert not told_before
                assert self.now(job_id) == before
                return
            if is_current:
                assert (job_id, attempt) not in self.ended_attempts
                self.ended_attempts[job_id, attempt] = domain.outcome_name(outcome)
                self.moved(before, after)
            else:
                assert told_before
                assert after == before

        def report(self, job_id: UUID, attempt: int, done: int) -> None:
            before = self.now(job_id)
            is_current = before.attempt == attempt and before.state in domain.HELD
            try:
                run(jobs.report_progress(job_id, attempt, domain.Progress(done=done, total=10)))
            except errors.Aborted:
                assert not is_current
                assert self.now(job_id) == before
            else:
                assert is_current

        def heartbeat(self, job_id: UUID, attempt: int) -> None:
            now = self.now(job_id)
            is_current = now.attempt == attempt and now.state in domain.HELD
            renewed = run(jobs.heartbeat(worker="w", held=[(job_id, attempt)]))
            assert renewed == ([(job_id, attempt, now.state)] if is_current else [])

        def worker_dies(self, job_id: UUID) -> None:
            before = self.now(job_id)
            self.shift(job_id, "lease_until = now() - interval '1 s'", "lease_until IS NOT NULL")
            run(jobs.rescue(grace=timedelta()))
            after = self.now(job_id)
            if before.state not in domain.HELD:
                assert after == before
                return
            self.ended_attempts[job_id, before.attempt] = "crashed"
            assert after.state in {State.RETRYING, State.CANCELLED, State.FAILED}
            self.moved(before, after)

        def rescue_finds_nobody_who_lives(self, job_id: UUID) -> None:
            before = self.now(job_id)
            run(jobs.rescue(grace=timedelta()))
            assert self.now(job_id) == before

        def time_passes(self, job_id: UUID) -> None:
            self.shift(job_id, "run_at = now()", "run_at > now()")

        def cancel(self, job_id: UUID) -> None:
            before = self.now(job_id)
            try:
                after = run(jobs.cancel(job_id, owner_id=self.owner_id, reason="requested"))
            except errors.FailedPrecondition:
                assert before.state in {State.COMPLETED, State.FAILED}
                return
            if after != before:
                self.moved(before, after)
            assert after.state in {State.CANCELLED, State.CANCELLING}

        def retry(self, job_id: UUID) -> None:
            before = self.now(job_id)
            try:
                after = run(jobs.retry(job_id, owner_id=self.owner_id))
            except errors.FailedPrecondition:
                assert before.state not in {State.FAILED, State.CANCELLED}
                return
            assert (before.state in domain.TERMINAL, after.state) == (True, State.PENDING)
            assert after.max_attempts - after.attempt == after.spec.max_attempts
            self.seen[job_id] = after

        @invariant()
        def attempts_stay_within_bounds(self) -> None:
            for job_id in self.seen:
                job = self.now(job_id)
                assert 0 <= job.attempt <= job.max_attempts
                assert 0 <= job.crashes <= domain.CRASH_LIMIT
                assert (job.finished_at is not None) == (job.state in domain.TERMINAL)

        def teardown(self) -> None:
            if not getattr(self, "seen", None):
                return
            self.events_tell_the_whole_story()
            self.nothing_runnable_is_forgotten()

        def events_tell_the_whole_story(self) -> None:
            raw, latest = run(jobs.list_events(self.owner_id, after=0, limit=500))
            events = [job_events_pb2.JobEvent.FromString(event) for event in raw]
            assert [event.sequence for event in events] == list(range(1, latest + 1))
            last = {UUID(event.job.job_id): event.job for event in events}
            for job_id in self.seen:
                now = self.now(job_id)
                name = job_pb2.JobState.Name(last[job_id].state)
                assert name == f"JOB_STATE_{now.state.upper()}"
                assert last[job_id].attempt == now.attempt

        def nothing_runnable_is_forgotten(self) -> None:
            waiting = {job_id for job_id in self.seen if self.now(job_id).state in domain.CLAIMABLE}
            for job_id in waiting:
                self.shift(job_id, "run_at = now()", "run_at > now()")
            claimed = run(jobs.claim(worker="last", kinds=[self.kind], limit=100))
            assert {job.job_id for job in claimed} == waiting

        def job(self, which: int) -> UUID:
            return list(self.seen)[which % len(self.seen)]

        def token(self, which: int) -> tuple[UUID, int]:
            return self.tokens[which % len(self.tokens)]

        def moved(self, before: domain.Job, after: domain.Job) -> None:
            assert before.state not in domain.TERMINAL
            assert any(
                before.state in sources and after.state is target for sources, target in domain.TRANSITIONS.values()
            )
            assert after.version > before.version
            self.seen[after.job_id] = after

        def now(self, job_id: UUID) -> domain.Job:
            job: domain.Job = run(jobs.get(job_id, owner_id=None))
            self.seen[job_id] = job
            return job

        def shift(self, job_id: UUID, change: str, condition: str) -> None:
            async def update() -> None:
                statement = sa.text(f"UPDATE jobs.jobs SET {change} WHERE job_id = :id AND {condition}")
                async with engine.begin() as conn:
                    await conn.execute(statement, {"id": job_id})

            run(update())

    return Lifecycle


@pytest.mark.timeout(300)
def test_the_lifecycle_keeps_its_promises_in_any_order(quiet_url: str, nats_url: str) -> None:
    with asyncio.Runner() as runner:
        engine = postgres.engine(quiet_url, name="machine")
        relay = outbox.Relay(engine, schema.outbox, {})
        jobs = operations.Operations(engine, relay, bus.Bus(nats_url, name="machine"), lease=timedelta(seconds=30))
        slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
        try:
            run_state_machine_as_test(
                machine(runner.run, jobs, engine),
                settings=settings(
                    max_examples=100,
                    stateful_step_count=25,
                    deadline=None,
                    suppress_health_check=slow,
                    derandomize=True,
                ),
            )
        finally:
            runner.run(engine.dispose())
