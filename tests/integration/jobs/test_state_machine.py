"""The engine against a model, in whatever order things happen: Hypothesis looks for the order that breaks a promise.

The database is real; time passes by shifting rows. Promises: at most one effective finish an attempt and a stale one never
changes anything, terminal states change by a retry only, the owner's sequence has no gaps and tells the whole story, attempts,
limits and deadlines are kept, parents know their children, and nothing that can run is ever forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
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
from services.jobs import domain, limits, operations, schema
from services.jobs.domain import State
from tests.integration.jobs import steps

MAX_JOBS = 6
"""Few, so that what happens to one is likely to happen to the same one again."""
HOUR = timedelta(hours=1)
WHICH = st.integers(0, 11)
OUTCOMES = st.sampled_from(
    [
        domain.Completed(result={"done": True}),
        steps.ERROR,
        steps.FINAL,
        domain.Cancelled(reason="superseded"),
        domain.Released(),
        domain.Snoozed(delay=HOUR),
        domain.Waiting(),
    ]
)
WHAT = st.sampled_from(("plain", "keyed", "keyed", "keyed", "unique", "deadline", "scheduled", "undone", "child"))
ADMIN_ACTS = ("pause", "resume", "run_one", "run_two", "run_all", "one_a_key", "two_a_key")
ACTS = ("worker_dies", "pause_ends", "deadline_passes", "clock_jumps", "tidy") * 3 + ("resume", *ADMIN_ACTS)
LEGAL = {(source, target) for sources, target in domain.TRANSITIONS.values() for source in sources}
WAITING = {State.SCHEDULED, State.PENDING, State.RETRYING}


def machine(run: Callable[[Coroutine[Any, Any, Any]], Any], jobs: operations.Operations, engine: Any) -> type[Any]:
    """Make the machine over one database."""
    steering = limits.Steering(jobs)

    class Engine(RuleBasedStateMachine):
        @initialize(whats=st.lists(WHAT, min_size=2, max_size=4))
        def begin(self, whats: list[str]) -> None:
            self.owner_id = uuid4()
            self.kind = f"machine.{uuid4().hex}"
            self.kinds = [self.kind, self.kind + domain.UNDO]
            self.seen: dict[UUID, domain.Job] = {}
            self.tokens: list[tuple[UUID, int]] = []
            self.ended_attempts: dict[tuple[UUID, int], str] = {}
            self.kept: dict[UUID, int] = {}
            self.retried: set[UUID] = set()
            self.max_running = 0
            self.max_per_key = 1
            self.is_paused = False
            for what in whats:
                self.submit(what, 0, 2, 0)
                self.only_what_is_legal_happens()

        # What owners do.

        @precondition(lambda self: len(self.seen) < MAX_JOBS)
        @rule(what=WHAT, which=WHICH, max_attempts=st.integers(1, 3), priority=st.integers(0, 1))
        def submit_one(self, what: str, which: int, max_attempts: int, priority: int) -> None:
            self.submit(what, which, max_attempts, priority)

        def submit(self, what: str, which: int, max_attempts: int, priority: int) -> None:
            spec, refusal = self.spec(what, which, max_attempts=max_attempts, priority=priority)
            job_id = ids.uuid7()
            try:
                _, is_new = run(jobs.submit(job_id, spec))
            except errors.Error as error:
                assert error.code == refusal
            else:
                assert (is_new, refusal) == (True, None)

        @precondition(lambda self: 0 < len(self.seen) < MAX_JOBS)
        @rule(which=WHICH, whats=st.lists(WHAT, max_size=2))
        def submit_many(self, which: int, whats: list[str]) -> None:
            known, new = self.seen[self.job(which)], ids.uuid7()
            plain, _ = self.spec("plain", which)
            wanted: list[tuple[UUID, domain.Spec]] = [(new, plain), (new, plain), (known.job_id, known.spec)]
            expected = ["created", "known", "known", "job_id_taken"]
            wanted.append((new, replace(plain, payload={"another": True})))
            for what in whats:
                spec, refusal = self.spec(what, which)
                is_second = what == "unique" and any(one.unique_key == self.kind for _, one in wanted[4:])
                wanted.append((ids.uuid7(), spec))
                expected.append("unique_key_taken" if is_second else refusal or "created")
            assert [code(result) for result in run(jobs.submit_many(wanted))] == expected

        @precondition(lambda self: self.seen)
        @rule(which=WHICH, act=st.sampled_from(("submit_again", "cancel", "retry", "retry")))
        def owner(self, which: int, act: str) -> None:
            getattr(self, act)(self.job(which))

        def submit_again(self, job_id: UUID) -> None:
            job, is_new = run(jobs.submit(job_id, self.seen[job_id].spec))
            assert (job, is_new) == (self.seen[job_id], False)

        def cancel(self, job_id: UUID) -> None:
            before = self.seen[job_id]
            try:
                after = run(jobs.cancel(job_id, owner_id=self.owner_id, reason="requested"))
            except errors.FailedPrecondition:
                assert before.state in {State.COMPLETED, State.FAILED}
                return
            assert after.state is (State.CANCELLING if before.state in domain.HELD else State.CANCELLED)

        def retry(self, job_id: UUID) -> None:
            before = self.seen[job_id]
            living = {job.spec.unique_key for job in self.seen.values() if job.state not in domain.TERMINAL} - {None}
            is_ended = before.state in {State.FAILED, State.CANCELLED}
            try:
                after = run(jobs.retry(job_id, owner_id=self.owner_id))
            except errors.AlreadyExists:
                assert before.spec.unique_key in living
                return
            except errors.FailedPrecondition as error:
                assert error.code == ("undo_not_ended" if is_ended else "job_not_retryable")
                assert is_ended == (domain.undo_key(job_id) in living)
                return
            assert is_ended
            assert not {before.spec.unique_key, domain.undo_key(job_id)} & living
            assert after.deadline is None or after.deadline > datetime.now(UTC)
            assert after.max_attempts - after.attempt == after.spec.max_attempts
            self.retried.add(job_id)

        # What workers do.

        @precondition(lambda self: any(job.state in domain.CLAIMABLE for job in self.seen.values()))
        @rule(limit=st.integers(1, 4), which=WHICH, outcome=OUTCOMES, done=st.integers(0, 10))
        def claim_and_work(self, limit: int, which: int, outcome: domain.Outcome, done: int) -> None:
            self.claim(limit)
            self.only_what_is_legal_happens()
            if held := [token for token in self.tokens if self.is_current(*token)]:
                self.work(*held[which % len(held)], outcome, done)

        @precondition(lambda self: any(job.state in domain.CLAIMABLE for job in self.seen.values()))
        @rule(limit=st.integers(1, 4))
        def only_claim(self, limit: int) -> None:
            self.claim(limit)

        def claim(self, limit: int) -> None:
            ready = [job for job in self.seen.values() if job.ready]
            claimed = run(jobs.claim(worker="w", kinds=self.kinds, limit=limit))
            for job in claimed:
                before = self.seen[job.job_id]
                assert (before.ready, job.attempt) == (True, before.attempt + 1)
                self.tokens.append((job.job_id, job.attempt))
            bounded = [job for job in ready if job.spec.kind == self.kind]
            free = limit if not self.max_running else max(0, self.max_running - self.held())
            allowed = 0 if self.is_paused else min(len(bounded), free)
            assert len(claimed) == min(limit, allowed + len(ready) - len(bounded))
            assert sum(job.spec.kind == self.kind for job in claimed) <= allowed

        @precondition(lambda self: self.tokens)
        @rule(which=WHICH, outcome=OUTCOMES, done=st.integers(0, 10))
        def worker(self, which: int, outcome: domain.Outcome, done: int) -> None:
            """Let an attempt, living or overtaken, do all that a worker does."""
            self.work(*self.token(which), outcome, done)

        def work(self, job_id: UUID, attempt: int, outcome: domain.Outcome, done: int) -> None:
            if outcome == domain.Waiting() and self.is_current(job_id, attempt) and len(self.seen) < 2 * MAX_JOBS:
                spec, refusal = self.spec("child", done, parent_id=job_id)
                assert code(run(jobs.submit_many([(ids.uuid7(), spec)]))[0]) == (refusal or "created")
            self.heartbeat(job_id, attempt)
            self.keep(job_id, attempt, done)
            self.report(job_id, attempt, done)
            self.finish(job_id, attempt, outcome)

        @precondition(lambda self: len(self.tokens) > 1)
        @rule(outcomes=st.lists(OUTCOMES, min_size=2, max_size=4), which=WHICH)
        def finish_many(self, outcomes: list[domain.Outcome], which: int) -> None:
            ended = {}
            for n, outcome in enumerate(outcomes):
                job_id, attempt = self.token(which + n)
                ended[job_id] = (job_id, attempt, outcome)
            expected = [self.expected(*one) for one in ended.values()]
            results = run(jobs.finish_many(list(ended.values())))
            for (job_id, attempt, outcome), result, is_fine in zip(ended.values(), results, expected, strict=True):
                assert isinstance(result, domain.Job) == is_fine
                if is_fine:
                    self.ended_attempts[job_id, attempt] = domain.outcome_name(outcome)
                else:
                    assert result.code == "lease_lost"

        def finish(self, job_id: UUID, attempt: int, outcome: domain.Outcome) -> None:
            is_fine = self.expected(job_id, attempt, outcome)
            try:
                run(jobs.finish(job_id, attempt, outcome))
            except errors.Aborted:
                assert not is_fine
            else:
                assert is_fine
                self.ended_attempts[job_id, attempt] = domain.outcome_name(outcome)

        def expected(self, job_id: UUID, attempt: int, outcome: domain.Outcome) -> bool:
            told_before = self.ended_attempts.get((job_id, attempt)) == domain.outcome_name(outcome)
            return self.is_current(job_id, attempt) or told_before

        def keep(self, job_id: UUID, attempt: int, value: int) -> None:
            try:
                found = run(jobs.get_checkpoints(job_id, attempt))
                assert found == ({"step": self.kept[job_id]} if job_id in self.kept else {})
            except errors.Aborted:
                assert not self.is_current(job_id, attempt)
            try:
                run(jobs.save_checkpoint(job_id, attempt, "step", value))
            except errors.Aborted:
                assert not self.is_current(job_id, attempt)
            else:
                assert self.is_current(job_id, attempt)
                self.kept[job_id] = value

        def report(self, job_id: UUID, attempt: int, done: int) -> None:
            try:
                run(jobs.report_progress(job_id, attempt, domain.Progress(done=done, total=10)))
            except errors.Aborted:
                assert not self.is_current(job_id, attempt)
            else:
                assert self.is_current(job_id, attempt)

        def heartbeat(self, job_id: UUID, attempt: int) -> None:
            renewed = run(jobs.heartbeat(worker="w", held=[(job_id, attempt)]))
            is_current = self.is_current(job_id, attempt)
            assert renewed == ([(job_id, attempt, self.seen[job_id].state)] if is_current else [])

        # What happens by itself.

        @precondition(lambda self: self.seen)
        @rule(which=WHICH, act=st.sampled_from(ACTS))
        def world(self, which: int, act: str) -> None:
            if act in ADMIN_ACTS:
                self.admin(act)
            else:
                getattr(self, act)(self.job(which))

        def worker_dies(self, job_id: UUID) -> None:
            before = self.seen[job_id]
            self.shift("lease_until = now() - interval '1 s'", "lease_until IS NOT NULL", job_id)
            run(steps.rescue(jobs))
            if before.state in domain.HELD:
                self.ended_attempts[job_id, before.attempt] = "crashed"
                assert run(steps.state(jobs, job_id)) in {State.RETRYING, State.CANCELLED, State.FAILED}

        def pause_ends(self, job_id: UUID) -> None:
            self.shift("run_at = now()", "run_at > now()", job_id)
            run(self.promote())

        def deadline_passes(self, job_id: UUID) -> None:
            self.shift("deadline = now()", "deadline > now()", job_id)
            run(jobs.fail_overdue())
            after = run(jobs.get(job_id, owner_id=None))
            assert after.deadline is None or after.state not in WAITING

        def clock_jumps(self, job_id: UUID) -> None:
            """Let two hours pass for everybody."""
            self.shift(
                "lease_until = lease_until - interval '2 h', run_at = run_at - interval '2 h',"
                " deadline = deadline - interval '2 h'",
                "owner_id = :owner",
            )
            run(steps.rescue(jobs))
            for job in self.seen.values():
                if job.state in domain.HELD:
                    self.ended_attempts[job.job_id, job.attempt] = "crashed"
            run(self.promote())
            run(jobs.fail_overdue())

        def tidy(self, job_id: UUID) -> None:
            run(steps.rescue(jobs))
            run(jobs.cancel_orphans())
            assert run(jobs.free_keys()) == 0, "no place was forgotten"
            run(jobs.advance_turns())

        def admin(self, act: str) -> None:
            if act in {"pause", "resume"}:
                self.is_paused = act == "pause"
                run(steering.pause(self.kind) if self.is_paused else steering.resume(self.kind))
                jobs.kinds.forget()
                return
            self.max_running = {"run_one": 1, "run_two": 2, "run_all": 0}.get(act, self.max_running)
            self.max_per_key = {"one_a_key": 1, "two_a_key": 2}.get(act, self.max_per_key)
            self.set_limits()

        # What is promised.

        @invariant()
        def only_what_is_legal_happens(self) -> None:
            if not hasattr(self, "seen"):
                return
            before, self.seen = self.seen, self.look()
            for job_id, job in self.seen.items():
                assert 0 <= job.attempt <= job.max_attempts
                assert 0 <= job.crashes <= domain.CRASH_LIMIT
                assert (job.finished_at is not None) == (job.state in domain.TERMINAL)
                was = before.get(job_id)
                if was and was.state is not job.state:
                    steps_between = [(was.state, between) for between in State if (between, job.state) in LEGAL]
                    assert (was.state, job.state) in LEGAL or any(step in LEGAL for step in steps_between)
                    assert was.state not in domain.TERMINAL or job_id in self.retried
                if was and job != was:
                    assert (
                        job.version > was.version or replace(job, ready=was.ready) == was or self.is_shifted(was, job)
                    )
            self.retried.clear()
            self.limits_are_kept(before)
            self.parents_know_their_children()

        def limits_are_kept(self, before: dict[UUID, domain.Job]) -> None:
            taken, taken_before = _taken(self.seen), _taken(before)
            for key, count in taken.items():
                assert count <= max(self.max_per_key, taken_before[key])
            for job in self.seen.values():
                if job.state is State.PENDING and not job.ready:
                    assert taken[job.spec.concurrency_key or ""] >= self.max_per_key, "a free place is taken at once"
            was_held = sum(job.state in domain.HELD and job.spec.kind == self.kind for job in before.values())
            assert not self.max_running or self.held() <= max(self.max_running, was_held)

        def parents_know_their_children(self) -> None:
            for parent in self.seen.values():
                if parent.state in domain.TERMINAL:
                    continue
                states = [job.state for job in self.seen.values() if job.spec.parent_id == parent.job_id]
                ended = [state for state in states if state in domain.TERMINAL]
                unsuccessful = len(ended) - ended.count(State.COMPLETED)
                truth = domain.Children(total=len(states), ended=len(ended), unsuccessful=unsuccessful)
                assert parent.children == truth
                assert not parent.awaits_children or truth.ended < truth.total

        def teardown(self) -> None:
            if getattr(self, "seen", None):
                self.events_tell_the_whole_story()
                self.everything_ends()

        def events_tell_the_whole_story(self) -> None:
            raw, latest = run(jobs.list_events(self.owner_id, after=0, limit=500))
            events = [job_events_pb2.JobEvent.FromString(event) for event in raw]
            assert [event.sequence for event in events] == list(range(1, latest + 1))
            last: dict[UUID, tuple[State, int]] = {}
            for event in events:
                job_id, attempt = UUID(event.job.job_id), event.job.attempt
                state = State(job_pb2.JobState.Name(event.job.state).removeprefix("JOB_STATE_").lower())
                if job_id in last:
                    was, attempt_before = last[job_id]
                    assert (was, state) in LEGAL
                    assert attempt == attempt_before + (state is State.RUNNING)
                last[job_id] = (state, attempt)
            assert last == {job_id: (job.state, job.attempt) for job_id, job in self.seen.items()}

        def everything_ends(self) -> None:
            if self.is_paused:
                run(steering.resume(self.kind))
            if self.max_running:
                self.max_running = 0
                self.set_limits()
            jobs.kinds.forget()
            self.clock_jumps(next(iter(self.seen)))
            for _ in range(5 * len(self.look())):
                claimed = run(jobs.claim(worker="last", kinds=self.kinds, limit=100))
                run(steps.complete(jobs, *(job.job_id for job in claimed)))
                run(self.promote())
            assert {job.state for job in self.look().values()} <= domain.TERMINAL, "something was forgotten"

        # The rest is how.

        def spec(
            self, what: str, which: int, *, parent_id: UUID | None = None, **policy: Any
        ) -> tuple[domain.Spec, str | None]:
            """Give a spec, and why it will be refused."""
            given: dict[str, Any] = {}
            refusal = None
            if what == "keyed":
                given = {"concurrency_key": "key"}
            elif what == "unique":
                given = {"unique_key": self.kind}
                living = [job for job in self.seen.values() if job.state not in domain.TERMINAL]
                refusal = "unique_key_taken" if any(job.spec.unique_key == self.kind for job in living) else None
            elif what == "deadline":
                given = {"total_timeout": HOUR}
            elif what == "scheduled":
                given = {"run_at": datetime.now(UTC) + HOUR, "concurrency_key": "key" if which % 2 else None}
            elif what == "undone":
                given = {"undoes": True}
            elif what == "child" and self.seen:
                parent = self.seen[parent_id or self.job(which)]
                given = {"parent_id": parent.job_id, "concurrency_key": "key" if which % 2 else None}
                is_closed = parent.state in domain.TERMINAL | {State.CANCELLING}
                refusal = "parent_ended" if is_closed else None
            payload = {"n": len(self.seen)}
            return domain.Spec(kind=self.kind, owner_id=self.owner_id, payload=payload, **given, **policy), refusal

        def job(self, which: int) -> UUID:
            return list(self.seen)[which % len(self.seen)]

        def token(self, which: int) -> tuple[UUID, int]:
            return self.tokens[which % len(self.tokens)]

        def is_current(self, job_id: UUID, attempt: int) -> bool:
            return self.seen[job_id].attempt == attempt and self.seen[job_id].state in domain.HELD

        def is_shifted(self, was: domain.Job, job: domain.Job) -> bool:
            return replace(job, run_at=was.run_at, deadline=was.deadline, ready=was.ready) == was

        def held(self) -> int:
            return sum(job.state in domain.HELD and job.spec.kind == self.kind for job in self.seen.values())

        def look(self) -> dict[UUID, domain.Job]:
            page = run(
                jobs.list_page(
                    owner_id=self.owner_id, states=[], kinds=[], parent_id=None, page_size=100, page_token=""
                )
            )
            return {job.job_id: job for job in page.jobs[::-1]}

        def set_limits(self) -> None:
            run(steps.limit(jobs, self.kind, max_running=self.max_running, max_running_per_key=self.max_per_key))

        async def promote(self) -> None:
            while await jobs.promote() == operations.BATCH:
                pass

        def shift(self, change: str, condition: str, job_id: UUID | None = None) -> None:
            async def update() -> None:
                statement = sa.text(
                    f"UPDATE jobs.jobs SET {change} WHERE owner_id = :owner AND {condition}"
                    " AND (CAST(:id AS uuid) IS NULL OR job_id = :id)"
                )
                async with engine.begin() as conn:
                    await conn.execute(statement, {"owner": self.owner_id, "id": job_id})

            run(update())

    return Engine


def code(result: Any) -> str:
    """Say what became of one submit of many."""
    if isinstance(result, errors.Error):
        return result.code
    return "created" if result[1] else "known"


def _taken(found: dict[UUID, domain.Job]) -> Counter[str]:
    """Count the places that are taken of each concurrency key."""
    keeps = {State.RUNNING, State.RETRYING, State.CANCELLING}
    return Counter(
        job.spec.concurrency_key
        for job in found.values()
        if job.spec.concurrency_key and (job.ready or job.state in keeps)
    )


@pytest.mark.timeout(300)
def test_the_engine_keeps_its_promises_in_any_order(
    quiet_url: str, nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with asyncio.Runner() as runner:
        engine = postgres.engine(quiet_url, name="machine")
        relay = outbox.Relay(engine, schema.outbox, {})
        jobs = operations.Operations(engine, relay, bus.Bus(nats_url, name="machine"), lease=timedelta(seconds=30))
        try:
            run_state_machine_as_test(
                machine(runner.run, jobs, engine),
                settings=settings(
                    max_examples=120,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                    # A failure is told as it was found: making it smaller takes minutes.
                    phases=[Phase.explicit, Phase.generate],
                    derandomize=True,
                ),
            )
        finally:
            runner.run(engine.dispose())
