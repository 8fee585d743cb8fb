"""Model-based test of the engine: Hypothesis searches for an order of actions that breaks a guarantee.

The database is real; time passes by shifting rows. Promises: at most one effective finish an attempt and a stale one never
changes anything, terminal states change by a retry only, the owner's sequence has no gaps and contains every
transition, attempts,
limits and deadlines are kept, parents know their children, and nothing that can run is ever forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chassis import bus, errors, ids, outbox, postgres
from services.jobs import domain, operations, outcomes, schema
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operators import holds, kind_controls
from tests.integration.jobs import jobs_helpers, model

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "50"))
MAX_JOBS = 6
"""Few, so that what happens to one is likely to happen to the same one again."""
WHICH = st.integers(0, 11)
OUTCOMES = st.sampled_from(
    [
        outcomes.Completed(result={"done": True}),
        jobs_helpers.ERROR,
        jobs_helpers.FINAL,
        outcomes.Cancelled(reason="superseded"),
        outcomes.Released(),
        outcomes.Snoozed(delay=jobs_helpers.HOUR),
        outcomes.Waiting(),
    ]
)
WHAT = st.sampled_from(("plain", "keyed", "keyed", "keyed", "unique", "deadline", "scheduled", "undone", "child"))
ADMIN_ACTS = ("pause", "resume", "run_one", "run_two", "run_all", "one_a_key", "two_a_key")
WORLD_ACTS = ("worker_dies", "pause_ends", "deadline_passes", "clock_jumps", "tidy", "hold", "release")
ACTS = (*WORLD_ACTS * 3, "resume", *ADMIN_ACTS)
UNCLAIMED = {State.SCHEDULED, State.PENDING, State.RETRYING}


class Engine(model.Model):
    """Actions of owners, workers, admins and time, in any order."""

    @initialize(whats=st.lists(WHAT, min_size=2, max_size=4))
    def begin(self, whats: list[str]) -> None:
        self.reset()
        for what in whats:
            self.submit(what, 0, 2, 0)
            self.only_what_is_legal_happens()

    # What owners do.

    @precondition(lambda self: len(self.last_jobs) < MAX_JOBS)
    @rule(what=WHAT, which=WHICH, max_attempts=st.integers(1, 3), priority=st.integers(0, 1))
    def submit_one(self, what: str, which: int, max_attempts: int, priority: int) -> None:
        self.submit(what, which, max_attempts, priority)

    def submit(self, what: str, which: int, max_attempts: int, priority: int) -> None:
        spec, refusal = self.spec(what, which, max_attempts=max_attempts, priority=priority)
        job_id = ids.uuid7()
        try:
            _, is_new = self.run(self.jobs.submit(job_id, spec))
        except errors.Error as error:
            assert error.code == refusal
        else:
            assert (is_new, refusal) == (True, None)

    @precondition(lambda self: 0 < len(self.last_jobs) < MAX_JOBS)
    @rule(which=WHICH, whats=st.lists(WHAT, max_size=2))
    def submit_many(self, which: int, whats: list[str]) -> None:
        existing, new = self.last_jobs[self.job(which)], ids.uuid7()
        plain, _ = self.spec("plain", which)
        submits: list[tuple[UUID, domain.Spec]] = [(new, plain), (new, plain), (existing.job_id, existing.spec)]
        expected = ["created", "known", "known", "job_id_taken"]
        submits.append((new, replace(plain, payload={"another": True})))
        for what in whats:
            spec, refusal = self.spec(what, which)
            is_second = what == "unique" and any(item.unique_key == self.kind for _, item in submits[4:])
            submits.append((ids.uuid7(), spec))
            expected.append("unique_key_taken" if is_second else refusal or "created")
        assert [model.code(result) for result in self.run(self.jobs.submit_many(submits))] == expected

    @precondition(lambda self: self.last_jobs)
    @rule(which=WHICH, act=st.sampled_from(("submit_again", "cancel", "retry", "retry_ended", "retry_ended")))
    def owner(self, which: int, act: str) -> None:
        getattr(self, act)(self.job(which))

    def submit_again(self, job_id: UUID) -> None:
        job, is_new = self.run(self.jobs.submit(job_id, self.last_jobs[job_id].spec))
        assert (job, is_new) == (self.last_jobs[job_id], False)

    def cancel(self, job_id: UUID) -> None:
        before = self.last_jobs[job_id]
        try:
            after = self.run(self.jobs.cancel(job_id, owner_id=self.owner_id, reason="requested"))
        except errors.FailedPrecondition:
            assert before.state in {State.COMPLETED, State.FAILED}
            return
        assert after.state is (State.CANCELLING if before.state in domain.HELD else State.CANCELLED)

    def retry_ended(self, job_id: UUID) -> None:
        ended_ids = [job.job_id for job in self.last_jobs.values() if job.state in {State.FAILED, State.CANCELLED}]
        self.retry(ended_ids[list(self.last_jobs).index(job_id) % len(ended_ids)] if ended_ids else job_id)

    def retry(self, job_id: UUID) -> None:
        before = self.last_jobs[job_id]
        living = {job.spec.unique_key for job in self.last_jobs.values() if job.state not in domain.FINISHED} - {None}
        is_ended = before.state in {State.FAILED, State.CANCELLED}
        try:
            after = self.run(self.jobs.retry(job_id, owner_id=self.owner_id))
        except errors.AlreadyExists:
            assert before.spec.unique_key in living
            return
        except errors.FailedPrecondition as error:
            if error.code == "parent_ended":
                parent = self.last_jobs[before.spec.parent_id or job_id]
                assert is_ended
                assert parent.state in domain.ORPHANS_CHILDREN
                return
            assert error.code == ("undo_in_progress" if is_ended else "job_not_retryable")
            assert is_ended == (domain.undo_key(job_id) in living)
            return
        assert is_ended
        assert not {before.spec.unique_key, domain.undo_key(job_id)} & living
        assert after.deadline is None or after.deadline > datetime.now(UTC)
        assert after.max_attempts - after.attempt == after.spec.max_attempts
        self.retried.add(job_id)

    # What workers do.

    @precondition(lambda self: any(job.state in domain.CLAIMABLE for job in self.last_jobs.values()))
    @rule(limit=st.integers(1, 4), which=WHICH, outcome=OUTCOMES, done=st.integers(0, 10))
    def claim_and_work(self, limit: int, which: int, outcome: outcomes.Outcome, done: int) -> None:
        self.claim(limit)
        self.only_what_is_legal_happens()
        if held := [token for token in self.tokens if self.is_current(*token)]:
            self.work(*held[which % len(held)], outcome, done)

    @precondition(lambda self: any(job.state in domain.CLAIMABLE for job in self.last_jobs.values()))
    @rule(limit=st.integers(1, 4))
    def only_claim(self, limit: int) -> None:
        self.claim(limit)

    def claim(self, limit: int) -> None:
        ready = [job for job in self.last_jobs.values() if job.ready]
        claimed = self.run(self.jobs.claim(worker="w", kinds=self.kinds, limit=limit))
        for job in claimed:
            before = self.last_jobs[job.job_id]
            assert (before.ready, job.attempt) == (True, before.attempt + 1)
            self.tokens.append((job.job_id, job.attempt))
        free = limit if not self.max_running else max(0, self.max_running - self.held())

        def most(ready: list[domain.Job]) -> tuple[int, int]:
            bounded = [job for job in ready if job.spec.kind == self.kind]
            allowed = 0 if self.is_paused else min(len(bounded), free)
            return min(limit, allowed + len(ready) - len(bounded)), allowed

        # A claim takes one suspect. Others may take the places of jobs behind them, once.
        least = most([job for job in ready if not model.is_suspect(job)])[0]
        assert min(least, 1 if any(map(model.is_suspect, ready)) else limit) <= len(claimed) <= most(ready)[0]
        assert sum(job.spec.kind == self.kind for job in claimed) <= most(ready)[1]
        assert sum(map(model.is_suspect, claimed)) <= 1

    @precondition(lambda self: len(self.last_jobs) < MAX_JOBS)
    @rule(what=WHAT, which=WHICH, limit=st.integers(1, 3))
    def submit_while_a_call_waits(self, what: str, which: int, limit: int) -> None:
        spec, refusal = self.spec(what, which)
        ready = {job.job_id for job in self.last_jobs.values() if job.ready}
        result, claimed = self.run(jobs_helpers.submit_to_waiting_call(self.jobs, spec, self.kinds, limit))
        assert model.code(result) == (refusal or "created")
        # At most the jobs before the call, and the submitted one.
        assert {job.job_id for job in claimed} <= ready | ({result[0].job_id} if refusal is None else set())
        self.tokens += [(job.job_id, job.attempt) for job in claimed]
        self.only_what_is_legal_happens()
        is_open = not self.is_paused and (not self.max_running or self.held() < self.max_running)
        ready_now = [job for job in self.last_jobs.values() if job.ready and not model.is_suspect(job)]
        left = [job for job in ready_now if is_open or job.spec.kind != self.kind]
        assert claimed or not left, "nobody waits beside what can run"

    @precondition(lambda self: self.tokens)
    @rule(which=WHICH, outcome=OUTCOMES, done=st.integers(0, 10))
    def worker(self, which: int, outcome: outcomes.Outcome, done: int) -> None:
        """Let an attempt, current or stale, do all that a worker does."""
        self.work(*self.token(which), outcome, done)

    def work(self, job_id: UUID, attempt: int, outcome: outcomes.Outcome, done: int) -> None:
        if outcome == outcomes.Waiting() and self.is_current(job_id, attempt) and len(self.last_jobs) < 2 * MAX_JOBS:
            spec, refusal = self.spec("child", done, parent_id=job_id)
            assert model.code(self.run(self.jobs.submit_many([(ids.uuid7(), spec)]))[0]) == (refusal or "created")
        self.heartbeat(job_id, attempt)
        self.keep(job_id, attempt, done)
        self.report(job_id, attempt, done)
        self.finish(job_id, attempt, outcome)

    @precondition(lambda self: len(self.tokens) > 1)
    @rule(batch=st.lists(OUTCOMES, min_size=2, max_size=4), which=WHICH)
    def finish_many(self, batch: list[outcomes.Outcome], which: int) -> None:
        ended = {}
        for n, outcome in enumerate(batch):
            job_id, attempt = self.token(which + n)
            ended[job_id] = (job_id, attempt, outcome)
        expected = [self.expected(*item) for item in ended.values()]
        results = self.run(self.jobs.finish_many(list(ended.values())))
        for (job_id, attempt, outcome), result, is_fine in zip(ended.values(), results, expected, strict=True):
            assert isinstance(result, domain.Job) == is_fine
            if is_fine:
                self.ended_attempts[job_id, attempt] = outcomes.outcome_name(outcome)
            else:
                assert result.code == "lease_lost"

    def finish(self, job_id: UUID, attempt: int, outcome: outcomes.Outcome) -> None:
        is_fine = self.expected(job_id, attempt, outcome)
        try:
            self.run(self.jobs.finish(job_id, attempt, outcome))
        except errors.Aborted:
            assert not is_fine
        else:
            assert is_fine
            self.ended_attempts[job_id, attempt] = outcomes.outcome_name(outcome)

    def expected(self, job_id: UUID, attempt: int, outcome: outcomes.Outcome) -> bool:
        is_repeated = self.ended_attempts.get((job_id, attempt)) == outcomes.outcome_name(outcome)
        return self.is_current(job_id, attempt) or is_repeated

    def keep(self, job_id: UUID, attempt: int, value: int) -> None:
        try:
            stored = self.run(self.jobs.reports.get_checkpoints(job_id, attempt))
            assert stored == ({"step": self.checkpoints[job_id]} if job_id in self.checkpoints else {})
        except errors.Aborted:
            assert not self.is_current(job_id, attempt)
        try:
            self.run(self.jobs.reports.save_checkpoint(job_id, attempt, "step", value))
        except errors.Aborted:
            assert not self.is_current(job_id, attempt)
        else:
            assert self.is_current(job_id, attempt)
            self.checkpoints[job_id] = value

    def report(self, job_id: UUID, attempt: int, done: int) -> None:
        try:
            self.run(self.jobs.reports.report_progress(job_id, attempt, domain.Progress(done=done, total=10)))
        except errors.Aborted:
            assert not self.is_current(job_id, attempt)
        else:
            assert self.is_current(job_id, attempt)

    def heartbeat(self, job_id: UUID, attempt: int) -> None:
        renewed = self.run(self.jobs.heartbeat(worker="w", held=[(job_id, attempt)]))
        is_current = self.is_current(job_id, attempt)
        assert renewed == ([(job_id, attempt, self.last_jobs[job_id].state)] if is_current else [])

    # Automatic transitions.

    @precondition(lambda self: self.last_jobs)
    @rule(which=WHICH, act=st.sampled_from(ACTS))
    def world(self, which: int, act: str) -> None:
        if act in ADMIN_ACTS:
            self.admin(act)
            self.only_what_is_legal_happens()
            self.claim(which % 4 + 1)
        else:
            getattr(self, act)(self.job(which))

    def worker_dies(self, job_id: UUID) -> None:
        before = self.last_jobs[job_id]
        self.shift("lease_until = now() - interval '1 s'", "lease_until IS NOT NULL", job_id)
        self.run(jobs_helpers.rescue(self.jobs))
        if before.state in domain.HELD:
            self.ended_attempts[job_id, before.attempt] = "crashed"
            assert self.run(jobs_helpers.state(self.jobs, job_id)) in {State.RETRYING, State.CANCELLED, State.FAILED}

    def pause_ends(self, job_id: UUID) -> None:
        self.shift("run_at = now()", "run_at > now() AND run_at < '9999-01-01Z'", job_id)
        self.run(self.promote())

    def deadline_passes(self, job_id: UUID) -> None:
        self.shift("deadline = now()", "deadline > now()", job_id)
        self.run(Maintenance(self.jobs).fail_overdue())
        after = self.run(self.jobs.get(job_id, owner_id=None))
        assert after.deadline is None or after.state not in UNCLAIMED

    def hold(self, job_id: UUID) -> None:
        before = self.last_jobs[job_id]
        try:
            after = self.run(self.holds.hold(job_id, actor_id=None))
        except errors.FailedPrecondition:
            assert before.state not in UNCLAIMED
            return
        assert before.state in UNCLAIMED
        assert after.hold_run_at == (before.hold_run_at if before.is_on_hold else before.run_at)

    def release(self, job_id: UUID) -> None:
        on_hold = [job.job_id for job in self.last_jobs.values() if job.is_on_hold]
        job_id = on_hold[list(self.last_jobs).index(job_id) % len(on_hold)] if on_hold else job_id
        before = self.last_jobs[job_id]
        after = self.run(self.holds.release(job_id, actor_id=None))
        assert after == before or (before.is_on_hold and not after.is_on_hold)

    def tidy(self, job_id: UUID) -> None:
        self.run(jobs_helpers.rescue(self.jobs))
        self.run(Maintenance(self.jobs).cancel_orphans())
        assert self.run(Maintenance(self.jobs).admit_waiting()) == 0, "no place was forgotten"
        self.run(Maintenance(self.jobs).advance_fair_ranks())

    def admin(self, act: str) -> None:
        if act in {"pause", "resume"}:
            self.is_paused = act == "pause"
            self.run(self.kind_limits.pause(self.kind) if self.is_paused else self.kind_limits.resume(self.kind))
            self.jobs.kinds.forget()
            return
        self.max_running = {"run_one": 1, "run_two": 2, "run_all": 0}.get(act, self.max_running)
        self.max_per_key = {"one_a_key": 1, "two_a_key": 2}.get(act, self.max_per_key)
        self.set_limits()


@pytest.mark.timeout(1_200)
def test_engine_matches_the_model_in_any_order(quiet_url: str, nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with asyncio.Runner() as runner:
        engine = postgres.engine(quiet_url, name="machine")
        relay = outbox.Relay(engine, schema.outbox, {})
        jobs = operations.Operations(engine, relay, bus.Bus(nats_url, name="machine"), lease=timedelta(seconds=30))
        connected = {"run": runner.run, "jobs": jobs, "engine": engine, "kind_limits": kind_controls.KindControls(jobs)}
        connected["holds"] = holds.Holds(jobs)
        try:
            run_state_machine_as_test(
                type("Engine", (Engine,), connected),
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                    # A failure is reported as found: shrinking takes minutes.
                    phases=[Phase.explicit, Phase.generate],
                ),
            )
        finally:
            runner.run(engine.dispose())
