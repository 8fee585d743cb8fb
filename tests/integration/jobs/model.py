"""The guarantees of the engine, checked against every job of one owner after each step of `test_state_machine`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from hypothesis.stateful import RuleBasedStateMachine, invariant

from chassis import errors
from repruv.jobs.v1 import job_events_pb2, job_pb2
from services.jobs import domain, maintenance, operations, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operators import holds, kind_controls
from tests.integration.jobs import jobs_helpers

LEGAL = {(source, target) for sources, target in domain.TRANSITIONS.values() for source in sources}


class Model(RuleBasedStateMachine):
    """The last read jobs, the keys of workers and the settings of admins. The subclass has the rules."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    jobs: operations.Operations
    engine: Any
    kind_limits: kind_controls.KindControls
    holds: holds.Holds

    def reset(self) -> None:
        """Reset the model for a new owner and a new kind."""
        self.owner_id = uuid4()
        self.kind = f"machine.{uuid4().hex}"
        self.kinds = [self.kind, self.kind + domain.UNDO]
        self.last_jobs: dict[UUID, domain.Job] = {}
        self.tokens: list[tuple[UUID, int]] = []
        self.ended_attempts: dict[tuple[UUID, int], str] = {}
        self.checkpoints: dict[UUID, int] = {}
        self.retried: set[UUID] = set()
        self.max_running = 0
        self.max_per_key = 1
        self.is_paused = False

    # What is promised.

    @invariant()
    def only_what_is_legal_happens(self) -> None:
        if not hasattr(self, "last_jobs"):
            return
        before, self.last_jobs = self.last_jobs, self.probe()
        for job_id, job in self.last_jobs.items():
            assert 0 <= job.attempt <= job.max_attempts
            assert 0 <= job.crashes <= outcomes.CRASH_LIMIT
            assert (job.finished_at is not None) == (job.state in domain.FINISHED)
            was = before.get(job_id)
            if was and was.state is not job.state:
                steps_between = [(was.state, between) for between in State if (between, job.state) in LEGAL]
                assert (was.state, job.state) in LEGAL or any(step in LEGAL for step in steps_between)
                assert was.state not in domain.FINISHED or job_id in self.retried
            if was and job != was:
                assert job.version > was.version or replace(job, ready=was.ready) == was or self.is_shifted(was, job)
        self.retried.clear()
        self.limits_are_kept(before)
        self.parents_know_their_children()

    def limits_are_kept(self, before: dict[UUID, domain.Job]) -> None:
        taken, taken_before = _taken(self.last_jobs), _taken(before)
        for key, count in taken.items():
            assert count <= max(self.max_per_key, taken_before[key])
        for job in self.last_jobs.values():
            if job.state is State.PENDING and not job.ready:
                assert taken[job.spec.concurrency_key or ""] >= self.max_per_key, "a free place is taken at once"
        was_held = sum(job.state in domain.HELD and job.spec.kind == self.kind for job in before.values())
        assert not self.max_running or self.held() <= max(self.max_running, was_held)

    def parents_know_their_children(self) -> None:
        for parent in self.last_jobs.values():
            if parent.state in domain.FINISHED:
                continue
            states = [job.state for job in self.last_jobs.values() if job.spec.parent_id == parent.job_id]
            terminal_states = [state for state in states if state in domain.FINISHED]
            unsuccessful = len(terminal_states) - terminal_states.count(State.COMPLETED)
            truth = domain.Children(total=len(states), ended=len(terminal_states), unsuccessful=unsuccessful)
            assert parent.children == truth
            assert not parent.awaits_children or truth.ended < truth.total

    def teardown(self) -> None:
        if getattr(self, "last_jobs", None):
            self.events_tell_the_whole_story()
            self.everything_ends()

    def events_tell_the_whole_story(self) -> None:
        raw, latest = self.run(self.jobs.list_events(self.owner_id, after=0, limit=500))
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
        assert last == {job_id: (job.state, job.attempt) for job_id, job in self.last_jobs.items()}

    def everything_ends(self) -> None:
        if self.is_paused:
            self.run(self.kind_limits.resume(self.kind))
        if self.max_running:
            self.max_running = 0
            self.set_limits()
        self.jobs.kinds.forget()
        for job_id in self.last_jobs:
            self.run(self.holds.release(job_id, actor_id=None))
        self.clock_jumps(next(iter(self.last_jobs)))
        for _ in range(5 * len(self.probe())):
            claimed = self.run(self.jobs.claim(worker="last", kinds=self.kinds, limit=100))
            self.run(jobs_helpers.complete(self.jobs, *(job.job_id for job in claimed)))
            self.run(self.promote())
        assert {job.state for job in self.probe().values()} <= domain.FINISHED, "something was forgotten"

    # The rest is how.

    def spec(
        self, what: str, which: int, *, parent_id: UUID | None = None, **policy: Any
    ) -> tuple[domain.Spec, str | None]:
        """Return a spec, and the expected error code."""
        options: dict[str, Any] = {}
        refusal = None
        if what == "keyed":
            options = {"concurrency_key": "key"}
        elif what == "unique":
            options = {"unique_key": self.kind}
            living = [job for job in self.last_jobs.values() if job.state not in domain.FINISHED]
            refusal = "unique_key_taken" if any(job.spec.unique_key == self.kind for job in living) else None
        elif what == "deadline":
            options = {"total_timeout": jobs_helpers.HOUR}
        elif what == "scheduled":
            options = {"run_at": datetime.now(UTC) + jobs_helpers.HOUR, "concurrency_key": "key" if which % 2 else None}
        elif what == "undone":
            options = {"has_undo": True}
        elif what == "child" and self.last_jobs:
            parent = self.last_jobs[parent_id or self.job(which)]
            options = {"parent_id": parent.job_id, "concurrency_key": "key" if which % 2 else None}
            is_closed = parent.state in domain.FINISHED | {State.CANCELLING}
            refusal = "parent_ended" if is_closed else None
        payload = {"n": len(self.last_jobs)}
        return domain.Spec(kind=self.kind, owner_id=self.owner_id, payload=payload, **options, **policy), refusal

    def job(self, which: int) -> UUID:
        return list(self.last_jobs)[which % len(self.last_jobs)]

    def token(self, which: int) -> tuple[UUID, int]:
        return self.tokens[which % len(self.tokens)]

    def is_current(self, job_id: UUID, attempt: int) -> bool:
        return self.last_jobs[job_id].attempt == attempt and self.last_jobs[job_id].state in domain.HELD

    def is_shifted(self, was: domain.Job, job: domain.Job) -> bool:
        back = replace(job, run_at=was.run_at, hold_run_at=was.hold_run_at, deadline=was.deadline, ready=was.ready)
        return job.is_on_hold == was.is_on_hold and back == was

    def held(self) -> int:
        return sum(job.state in domain.HELD and job.spec.kind == self.kind for job in self.last_jobs.values())

    def probe(self) -> dict[UUID, domain.Job]:
        page = self.run(
            self.jobs.lists.page(
                owner_id=self.owner_id, states=[], kinds=[], parent_id=None, page_size=100, page_token=""
            )
        )
        return {job.job_id: job for job in page.jobs[::-1]}

    def set_limits(self) -> None:
        self.run(
            jobs_helpers.limit(self.jobs, self.kind, max_running=self.max_running, max_running_per_key=self.max_per_key)
        )

    async def promote(self) -> None:
        while await Maintenance(self.jobs).promote_due() == maintenance.BATCH:
            pass

    def shift(self, change: str, condition: str, job_id: UUID | None = None) -> None:
        async def update() -> None:
            statement = sa.text(
                f"UPDATE jobs.jobs SET {change} WHERE owner_id = :owner AND {condition}"
                " AND (CAST(:id AS uuid) IS NULL OR job_id = :id)"
            )
            async with self.engine.begin() as conn:
                await conn.execute(statement, {"owner": self.owner_id, "id": job_id})

        self.run(update())

    def clock_jumps(self, job_id: UUID) -> None:
        """Shift the clock by two hours."""
        self.shift(
            "lease_until = lease_until - interval '2 h', hold_run_at = hold_run_at - interval '2 h',"
            " run_at = CASE WHEN run_at < '9999-01-01Z' THEN run_at - interval '2 h' ELSE run_at END,"
            " deadline = deadline - interval '2 h'",
            "owner_id = :owner",
        )
        self.run(jobs_helpers.rescue(self.jobs))
        for job in self.last_jobs.values():
            if job.state in domain.HELD:
                self.ended_attempts[job.job_id, job.attempt] = "crashed"
        self.run(self.promote())
        self.run(Maintenance(self.jobs).fail_overdue())


def code(result: Any) -> str:
    """Return the outcome of one submit."""
    if isinstance(result, errors.Error):
        return result.code
    return "created" if result[1] else "known"


def _taken(jobs: dict[UUID, domain.Job]) -> Counter[str]:
    """Count the taken slots of each concurrency key."""
    keeps = {State.RUNNING, State.RETRYING, State.CANCELLING}
    return Counter(
        job.spec.concurrency_key
        for job in jobs.values()
        if job.spec.concurrency_key and (job.ready or job.state in keeps)
    )


def is_suspect(job: domain.Job) -> bool:
    """Return whether a worker runs one such job at a time."""
    return job.crashes >= outcomes.SUSPECT_CRASHES
