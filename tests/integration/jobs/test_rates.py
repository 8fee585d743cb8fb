"""Rates: recorded once a minute from the jobs that ended in it, summed up by hours, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, outcomes
from services.jobs.operations import Operations
from services.jobs.rates import histogram
from services.jobs.rates.reader import KindRates, Reader, Span
from services.jobs.rates.recorder import LAG, STEP, Recorder
from tests.integration.jobs import jobs_helpers

MINUTES_AGO = 3
WAITING = 20


@pytest.fixture
async def recorder(jobs_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recorder]:
    """Yield a recorder of a system whose last minutes are not recorded yet. Hundreds of kinds of other tests displace none."""
    monkeypatch.setattr("services.jobs.rates.recorder.MAX_KINDS", 100_000)
    await execute(jobs_engine, "DELETE FROM jobs.kind_rates")
    yield Recorder(jobs_engine)


async def execute(engine: AsyncEngine, statement: str) -> int:
    """Execute a statement; return the number of rows."""
    async with engine.begin() as conn:
        return (await conn.execute(sa.text(statement))).rowcount


async def end(
    jobs: Operations,
    engine: AsyncEngine,
    ends: Sequence[tuple[domain.Job, outcomes.Outcome]],
    *,
    wait: int,
    run: int,
) -> None:
    """End claimed jobs, all in one minute, `MINUTES_AGO` minutes ago; they waited and ran for the given seconds."""
    async with engine.connect() as conn:
        moment = await conn.scalar(sa.text(f"SELECT date_trunc('minute', now()) - interval '{MINUTES_AGO} minutes'"))
    end = f"timestamptz '{moment}' + interval '1 s'"
    for job, outcome in ends:
        await jobs.finish(job.job_id, job.attempt, outcome)
        await jobs_helpers.shift(
            engine,
            job.job_id,
            f"finished_at = {end}, started_at = {end} - {run} * interval '1 s',"
            f" created_at = {end} - {run + wait} * interval '1 s'",
        )


async def minutes(engine: AsyncEngine) -> int:
    """Return the number of the minute after the last one that can be recorded now, by the database's clock."""
    async with engine.connect() as conn:
        statement = sa.text("SELECT floor(extract(epoch FROM now() - :lag) / 60)").bindparams(lag=LAG)
        return int((await conn.execute(statement)).scalar_one())


async def rates_of(engine: AsyncEngine, kind: str, span: Span) -> KindRates:
    rates = await Reader(engine).read(span)
    return next(each for each in rates.kinds if each.kind == kind)


async def test_minutes_and_hours_are_recorded_once(
    jobs: Operations, jobs_engine: AsyncEngine, recorder: Recorder, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    for _ in range(3 + WAITING):
        await submit_job()
    claimed = await jobs.claim(worker="w", kinds=[kind], limit=3)
    ends: list[outcomes.Outcome] = [outcomes.Completed(), outcomes.Completed(), jobs_helpers.FINAL]
    await end(jobs, jobs_engine, list(zip(claimed, ends, strict=True)), wait=4, run=16)
    minute = await minutes(jobs_engine)
    assert await recorder.record()
    assert not await recorder.record() or await minutes(jobs_engine) > minute
    for span, length in ((Span.HOUR, 60), (Span.DAY, 24), (Span.WEEK, 168)):
        rates = await rates_of(jobs_engine, kind, span)
        assert len(rates.points) == length
        assert sum(point.completed for point in rates.points) == 2
        assert sum(point.failed for point in rates.points) == 1
        assert max(point.waiting for point in rates.points) == WAITING
        for counts, seconds in ((rates.waits, 4), (rates.runs, 16)):
            middle = histogram.percentile(counts, 0.5)
            assert middle is not None
            assert abs(middle.total_seconds() - seconds) <= seconds / 5
    (position,) = [
        n for n, point in enumerate((await rates_of(jobs_engine, kind, Span.HOUR)).points) if point.completed
    ]
    assert 60 - MINUTES_AGO - 1 <= position < 60
    total = (await Reader(jobs_engine).read(Span.HOUR)).total
    assert total.kind == "*"
    assert sum(point.completed for point in total.points) >= 2
    assert any(point.wait_p95 for point in total.points)


async def test_an_interrupted_pass_is_repeated_without_counting_twice(
    jobs: Operations, jobs_engine: AsyncEngine, recorder: Recorder, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    await submit_job()
    (job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    await end(jobs, jobs_engine, [(job, outcomes.Completed())], wait=1, run=1)
    await recorder.record()
    # The last minutes are lost, as by a crash before the commit; the hours keep what they had.
    await execute(jobs_engine, "DELETE FROM jobs.kind_rates WHERE span = 'minute'")
    assert await recorder.record()
    assert sum(point.completed for point in (await rates_of(jobs_engine, kind, Span.DAY)).points) == 1


async def test_idle_minutes_have_a_row_and_old_rows_are_deleted(jobs_engine: AsyncEngine, recorder: Recorder) -> None:
    for span, age in (("minute", "26 hours"), ("minute", "24 hours"), ("hour", "8 days"), ("hour", "6 days")):
        zeros = "array_fill(0, ARRAY[48])"
        begin = f"date_trunc('{span}', now() - interval '{age}', 'UTC')"
        await execute(
            jobs_engine,
            "INSERT INTO jobs.kind_rates (kind, span, begins_at, completed, failed, cancelled, waiting, waits, runs)"
            f" VALUES ('demo.old', '{span}', {begin}, 1, 0, 0, 0, {zeros}, {zeros})",
        )
    await recorder.record()
    assert await execute(jobs_engine, "SELECT FROM jobs.kind_rates WHERE kind = 'demo.old'") == 2
    assert await execute(jobs_engine, "SELECT FROM jobs.kind_rates WHERE kind = '*' AND span = 'minute'") in (59, 60)


async def test_no_statement_records_many_minutes(jobs_engine: AsyncEngine, recorder: Recorder) -> None:
    """The hour after an outage of a busy system would reach the statement timeout, and again with each further minute."""
    await recorder.record()
    async with jobs_engine.connect() as conn:
        # Each statement is a transaction.
        counts = await conn.execute(
            sa.text("""
                SELECT count(*) FROM jobs.kind_rates WHERE span = 'minute' AND kind = '*' GROUP BY xmin::text ORDER BY 1 DESC
            """)
        )
        minutes_of_statements = counts.scalars().all()
    assert minutes_of_statements[0] == STEP / timedelta(minutes=1)
    assert sum(minutes_of_statements) in (59, 60)


async def test_kinds_of_a_minute_are_bounded(
    monkeypatch: pytest.MonkeyPatch, jobs_engine: AsyncEngine, recorder: Recorder, submit_job: jobs_helpers.Submit
) -> None:
    monkeypatch.setattr("services.jobs.rates.recorder.MAX_KINDS", 3)
    for number in range(5):
        await submit_job(kind=f"demo.many-{number}")
    await recorder.record()
    async with jobs_engine.connect() as conn:
        counts = await conn.execute(
            sa.text("SELECT count(*) FROM jobs.kind_rates WHERE span = 'minute' GROUP BY begins_at ORDER BY 1 DESC")
        )
        assert counts.scalars().first() == 3


@pytest.mark.parametrize(("counts", "share", "seconds"), [([0] * 48, 0.5, None), ([1] + [0] * 47, 0.95, 0.001)])
def test_percentiles(counts: list[int], share: float, seconds: float | None) -> None:
    result = histogram.percentile(counts, share)
    assert result is None if seconds is None else result and abs(result / timedelta(seconds=seconds) - 1) <= 0.2
