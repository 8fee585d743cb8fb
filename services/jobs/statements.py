"""The statements that run for every job: built once, since building one takes longer than executing it."""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import dml

from chassis import outbox
from services.jobs import domain, schema
from services.jobs.domain import Action, State
from services.jobs.schema import attempts, job_events, jobs, owners

_now = sa.func.now()


def _given(name: str, kind: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]]) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=kind)


def _in_state(states: frozenset[State]) -> sa.ColumnElement[bool]:
    return jobs.c.state.in_(sorted(states))


INSERT_JOB = (
    postgresql.insert(jobs)
    .values(
        **{
            name: sa.bindparam(name)
            for name in (
                *("job_id", "owner_id", "kind", "payload", "priority", "budget", "max_attempts"),
                *("backoff", "max_backoff", "attempt_timeout", "unique_key", "scheduled_at"),
            )
        },
        state=sa.case((_given("run_at", jobs.c.run_at.type) > _now, State.SCHEDULED), else_=State.PENDING),
        run_at=sa.func.greatest(_given("run_at", jobs.c.run_at.type), _now),
    )
    .on_conflict_do_nothing(index_elements=[jobs.c.job_id])
    .returning(jobs)
)

GET_JOB = sa.select(jobs).where(jobs.c.job_id == sa.bindparam("job_id"))
LOCK_JOB = GET_JOB.with_for_update()

LAST_SEQUENCES = sa.select(owners.c.owner_id, owners.c.last_sequence).where(
    owners.c.owner_id == sa.any_(_given("owner_ids", postgresql.ARRAY(sa.Uuid)))
)


def _claiming() -> sa.Select[Any]:
    sources, target = domain.TRANSITIONS[Action.CLAIM]
    runnable = (
        sa.select(jobs.c.job_id)
        .where(
            _in_state(sources),
            jobs.c.run_at <= _now,
            jobs.c.kind == sa.any_(_given("kinds", postgresql.ARRAY(sa.Text))),
        )
        .order_by(jobs.c.priority.desc(), jobs.c.run_at, jobs.c.job_id)
        .limit(sa.bindparam("limit"))
        .with_for_update(skip_locked=True)
    )
    claimed = (
        sa.update(jobs)
        .where(jobs.c.job_id == sa.any_(sa.func.array(runnable.scalar_subquery())))
        .values(
            state=target,
            attempt=jobs.c.attempt + 1,
            worker=_given("claimer", sa.Text),
            lease_until=_now + _given("lease", sa.Interval),
            started_at=sa.func.coalesce(jobs.c.started_at, _now),
            version=jobs.c.version + 1,
        )
        .returning(jobs)
        .cte("claimed")
    )
    begun = sa.insert(attempts).from_select(
        ["job_id", "attempt", "worker", "started_at"],
        sa.select(claimed.c.job_id, claimed.c.attempt, claimed.c.worker, _now),
    )
    return sa.select(claimed).add_cte(begun.cte("begun"))


CLAIM_JOBS = _claiming()
"""Puts runnable jobs under a new attempt each, and writes the attempts down."""


def _renewing() -> dml.ReturningUpdate[Any]:
    given = (_given("job_ids", postgresql.ARRAY(sa.Uuid)), _given("attempts", postgresql.ARRAY(sa.Integer)))
    columns = (sa.column("job_id", sa.Uuid), sa.column("attempt", sa.Integer))
    held = sa.func.unnest(*given).table_valued(*columns).render_derived("held")
    return (
        sa.update(jobs)
        .where(
            jobs.c.job_id == held.c.job_id,
            jobs.c.attempt == held.c.attempt,
            jobs.c.worker == _given("holder", sa.Text),
            _in_state(domain.HELD),
        )
        .values(lease_until=_now + _given("lease", sa.Interval))
        .returning(jobs.c.job_id, jobs.c.attempt, jobs.c.state)
    )


RENEW_LEASES = _renewing()


def _progressing() -> dml.ReturningUpdate[Any]:
    done, total = _given("done", sa.BigInteger), _given("total", sa.BigInteger)
    reached = sa.func.greatest(jobs.c.progress_done, done)
    is_same_attempt = jobs.c.progress_attempt == sa.bindparam("of_attempt")
    return (
        sa.update(jobs)
        .where(
            jobs.c.job_id == sa.bindparam("of_job"),
            jobs.c.attempt == sa.bindparam("of_attempt"),
            _in_state(domain.HELD),
        )
        .values(
            progress_attempt=sa.bindparam("of_attempt"),
            progress_total=total,
            progress_done=sa.case(
                (sa.and_(is_same_attempt, total == 0), reached),
                (is_same_attempt, sa.func.least(reached, total)),
                else_=done,
            ),
            progress_message=sa.bindparam("message"),
            version=jobs.c.version + 1,
        )
        .returning(jobs)
    )


SET_PROGRESS = _progressing()


@functools.cache
def end_attempt(action: Action) -> sa.Select[Any]:
    """Give the statement that ends a job's attempt, and with it what the job does, by `action`."""
    sources, target = domain.TRANSITIONS[action]
    ended = (
        sa.update(jobs)
        .where(
            jobs.c.job_id == sa.bindparam("of_job"), jobs.c.attempt == sa.bindparam("of_attempt"), _in_state(sources)
        )
        .values(
            state=target,
            version=jobs.c.version + 1,
            worker=None,
            lease_until=None,
            finished_at=_now if target in domain.TERMINAL else None,
            run_at=_now + _given("delay", sa.Interval),
            result=_given("job_result", jobs.c.result.type),
            error_code=_given("job_error_code", sa.Text),
            error_message=_given("job_error_message", sa.Text),
            cancel_reason=_given("reason", sa.Text),
            max_attempts=_given("most_attempts", sa.Integer),
            crashes=_given("crash_count", sa.Integer),
            errors=_given("error_count", sa.Integer),
        )
        .returning(jobs)
        .cte("ended")
    )
    attempt = (
        sa.update(attempts)
        .where(attempts.c.job_id == ended.c.job_id, attempts.c.attempt == ended.c.attempt)
        .values(
            finished_at=_now,
            outcome=_given("attempt_outcome", sa.Text),
            error_code=_given("attempt_error_code", sa.Text),
            error_message=_given("attempt_error_message", sa.Text),
        )
    )
    return sa.select(ended).add_cte(attempt.cte("attempt"))


LOCK_EXPIRED_JOBS = (
    sa.select(jobs)
    .where(
        _in_state(domain.HELD),
        jobs.c.lease_until < _now,
        sa.func.pg_postmaster_start_time() < _now - _given("grace", sa.Interval),
    )
    .order_by(jobs.c.lease_until)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)
)


def _promoting() -> dml.ReturningUpdate[Any]:
    sources, target = domain.TRANSITIONS[Action.PROMOTE]
    due = (
        sa.select(jobs.c.job_id)
        .where(_in_state(sources), jobs.c.run_at <= _now)
        .order_by(jobs.c.run_at)
        .limit(sa.bindparam("limit"))
        .with_for_update(skip_locked=True)
    )
    return (
        sa.update(jobs)
        .where(jobs.c.job_id == sa.any_(sa.func.array(due.scalar_subquery())))
        .values(state=target, version=jobs.c.version + 1)
        .returning(jobs)
    )


PROMOTE_JOBS = _promoting()

KINDS_DUE = (
    sa.select(jobs.c.kind)
    .where(_in_state(domain.CLAIMABLE), jobs.c.run_at.between(_now - _given("age", sa.Interval), _now))
    .distinct()
    .limit(1_000)
)


def _advancing() -> Any:
    given = (_given("owner_ids", postgresql.ARRAY(sa.Uuid)), _given("counts", postgresql.ARRAY(sa.BigInteger)))
    columns = (sa.column("owner_id", sa.Uuid), sa.column("last_sequence", sa.BigInteger))
    counted = sa.func.unnest(*given).table_valued(*columns).render_derived()
    insert = postgresql.insert(owners).from_select(
        ["owner_id", "last_sequence"], sa.select(counted).order_by(counted.c.owner_id)
    )
    return insert.on_conflict_do_update(
        index_elements=[owners.c.owner_id],
        set_={"last_sequence": owners.c.last_sequence + insert.excluded.last_sequence},
    ).returning(owners.c.owner_id, owners.c.last_sequence)


NEXT_SEQUENCES = _advancing()

INSERT_EVENT = (
    sa.insert(job_events)
    .values(
        occurred_at=_now,
        **{
            name: sa.bindparam(name)
            for name in ("owner_id", "sequence", "job_id", "state", "attempt", "reason", "event")
        },
    )
    .add_cte(outbox.insertion(schema.outbox).cte("told"))
)
"""Appends an event to its owner's log, and its message to the outbox."""
