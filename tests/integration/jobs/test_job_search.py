"""Lists and counts of jobs for operators: filters, orders, pages, and the bound of their cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import domain, outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from services.jobs.operators import job_search
from services.jobs.operators.job_filters import JobFilter
from services.jobs.operators.job_search import JobSearch, Order
from tests.integration.jobs import jobs_helpers


@pytest.fixture
def search(jobs_engine: AsyncEngine) -> JobSearch:
    """Return the lists of operators."""
    return JobSearch(jobs_engine)


async def matches(search: JobSearch, order: Order = Order.NEWEST, size: int = 100, **selected: Any) -> list[UUID]:
    """Return the ids on the first page of a filter."""
    page = await search.page(JobFilter(**selected), order=order, page_size=size, page_token="")
    return [row.job.job_id for row in page.rows]


async def walk(search: JobSearch, selected: JobFilter, order: Order, size: int) -> list[list[UUID]]:
    """Return the ids of every page, forward and then backward."""
    pages, token = [], ""
    page = await search.page(selected, order=order, page_size=size, page_token=token)
    pages.append(page)
    while page.next_page_token:
        page = await search.page(selected, order=order, page_size=size, page_token=page.next_page_token)
        pages.append(page)
    forward = [[row.job.job_id for row in page.rows] for page in pages]
    backward = [forward[-1]]
    while page.previous_page_token:
        page = await search.page(selected, order=order, page_size=size, page_token=page.previous_page_token)
        ids = [row.job.job_id for row in page.rows]
        # Before a page at the bound of a scan there may be others, or none: then the first page comes again.
        if ids != backward[0]:
            backward.insert(0, ids)
    assert backward == forward
    return forward


@pytest.mark.parametrize("order", Order)
async def test_pages_lead_forward_and_back(
    jobs: Operations, search: JobSearch, submit_job: jobs_helpers.Submit, kind: str, order: Order
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(7)]
    for job_id in await jobs_helpers.claim(jobs, kind):
        await jobs.finish(job_id, 1, outcomes.Completed())
    pages = await walk(search, JobFilter(kinds={kind}), order, 3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {job_id for page in pages for job_id in page} == set(job_ids)
    if order in (Order.NEWEST, Order.OLDEST):
        assert [job_id for page in pages for job_id in page] == sorted(job_ids, reverse=order is Order.NEWEST)


async def test_filters_select(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    search: JobSearch,
    submit_job: jobs_helpers.Submit,
    kind: str,
    owner_id: UUID,
) -> None:
    failed, running, waiting = [(await submit_job(unique_key=f"{kind}-{n}_%")).job_id for n in range(3)]
    system = (await submit_job(owner_id=domain.SYSTEM)).job_id
    await jobs_helpers.shift(jobs_engine, failed, "priority = 2")
    await jobs_helpers.shift(jobs_engine, running, "priority = 1")
    for worker in ("first", "second"):
        await jobs.claim(worker=f"{worker}-{kind}", kinds=[kind], limit=1)
    await jobs.finish(failed, 1, jobs_helpers.FINAL)
    of_kind = {"kinds": {kind}}
    cases: Sequence[tuple[dict[str, Any], set[UUID]]] = [
        (of_kind, {failed, running, waiting, system}),
        ({**of_kind, "without_system": True}, {failed, running, waiting}),
        ({"owner_id": owner_id}, {failed, running, waiting}),
        ({"owner_id": owner_id, "states": {State.PENDING, State.RUNNING}}, {running, waiting}),
        ({**of_kind, "states": {State.FAILED}}, {failed}),
        ({**of_kind, "states": {State.FAILED, State.RUNNING}}, {failed, running}),
        ({**of_kind, "states": {State.COMPLETED, State.CANCELLED}}, set()),
        ({**of_kind, "error_code": "final"}, {failed}),
        ({**of_kind, "error_code": "other"}, set()),
        ({**of_kind, "worker": f"first-{kind}"}, {failed}),
        ({**of_kind, "worker": f"second-{kind}"}, {running}),
        ({**of_kind, "text": "FOR GOOD"}, {failed}),
        ({**of_kind, "text": f"{kind}-1_%"}, {running}),
        ({**of_kind, "text": "%"}, {failed, running, waiting}),
        ({**of_kind, "text": "x_y"}, set()),
        ({**of_kind, "created_from": ids.timestamp_of(waiting) - timedelta(milliseconds=1)}, {waiting, system}),
        ({**of_kind, "created_until": ids.timestamp_of(failed) - timedelta(hours=1)}, set()),
    ]
    for selected, expected in cases:
        result = set(await matches(search, **selected))
        if "created_from" in selected:
            assert expected <= result, selected
        else:
            assert result == expected, selected
            assert (await search.count(JobFilter(**selected))).count == len(expected), selected


async def test_rows_show_worker_wait_and_run(
    jobs: Operations, jobs_engine: AsyncEngine, search: JobSearch, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind, "first")
    await jobs.finish(job.job_id, 1, outcomes.Completed())
    await jobs_helpers.shift(
        jobs_engine,
        job.job_id,
        "created_at = now() - interval '60 s', started_at = now() - interval '50 s', finished_at = now() - interval '20 s'",
    )
    later = await submit_job(run_at=job.created_at + jobs_helpers.HOUR)
    page = await search.page(JobFilter(kinds={kind}), order=Order.NEWEST, page_size=10, page_token="")
    rows = {row.job.job_id: row for row in page.rows}
    row = rows[job.job_id]
    assert (row.worker, row.wait, row.run) == ("first", timedelta(seconds=10), timedelta(seconds=30))
    row = rows[later.job_id]
    assert (row.worker, row.wait, row.run) == ("", None, None)


async def test_longest_wait_and_run_are_first(
    jobs: Operations, jobs_engine: AsyncEngine, search: JobSearch, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    short, long, unstarted = [(await submit_job()).job_id for _ in range(3)]
    await jobs.claim(worker="w", kinds=[kind], limit=2)
    for job_id, seconds in ((short, 1), (long, 500)):
        await jobs.finish(job_id, 1, outcomes.Completed())
        await jobs_helpers.shift(
            jobs_engine,
            job_id,
            f"created_at = started_at - {seconds} * interval '1 s', finished_at = started_at + {seconds} * interval '1 s'",
        )
    assert await matches(search, Order.LONGEST_RUN, kinds={kind}) == [long, short]
    assert (await matches(search, Order.LONGEST_WAIT, kinds={kind}))[0] == long
    assert unstarted in await matches(search, Order.LONGEST_WAIT, kinds={kind})


async def test_counts_are_grouped_and_bounded(
    monkeypatch: pytest.MonkeyPatch, jobs: Operations, search: JobSearch, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    for _ in range(5):
        await submit_job()
    await jobs_helpers.claim(jobs, kind, limit=2)
    count = await search.count(JobFilter(kinds={kind}))
    assert (count.count, count.has_more, count.owners) == (5, False, 1)
    assert list(count.groups) == [(kind, State.PENDING, 3), (kind, State.RUNNING, 2)]
    monkeypatch.setattr(job_search, "MAX_COUNT", 4)
    count = await search.count(JobFilter(kinds={kind}))
    assert (count.count, count.has_more) == (4, True)


async def test_a_scan_that_ends_early_is_continued_by_the_next_page(
    monkeypatch: pytest.MonkeyPatch, search: JobSearch, submit_job: jobs_helpers.Submit, owner_id: UUID
) -> None:
    monkeypatch.setattr(job_search, "SCAN", 2)
    monkeypatch.setattr(job_search, "FIRST_SCAN", 1)
    all_ids = [(await submit_job(unique_key=f"{owner_id}-{n % 3}-{n}")).job_id for n in range(6)]
    selected = JobFilter(owner_id=owner_id, text=f"{owner_id}-0-")
    pages, token = [], ""
    while True:
        page = await search.page(selected, order=Order.NEWEST, page_size=2, page_token=token)
        pages.append([row.job.job_id for row in page.rows])
        if not (token := page.next_page_token):
            break
    assert [job_id for page in pages for job_id in page] == [all_ids[3], all_ids[0]]
    assert len(pages) > 1
    assert (await search.count(selected)).has_more
    collected: list[UUID] = []
    position: UUID | None = None
    while True:
        job_ids, position = await search.ids_after(selected, position, limit=1)
        collected += job_ids
        if position is None:
            break
    assert collected == [all_ids[0], all_ids[3]]


async def test_tokens_belong_to_a_filter_and_an_order(
    search: JobSearch, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    for _ in range(2):
        await submit_job()
    page = await search.page(JobFilter(kinds={kind}), order=Order.NEWEST, page_size=1, page_token="")
    for selected, order in ((JobFilter(), Order.NEWEST), (JobFilter(kinds={kind}), Order.OLDEST)):
        with pytest.raises(errors.InvalidArgument):
            await search.page(selected, order=order, page_size=1, page_token=page.next_page_token)


@pytest.mark.parametrize(
    ("selected", "field"),
    [
        ({"kinds": {"Demo.Upper"}}, "kinds"),
        ({"kinds": {f"demo.k{n}" for n in range(21)}}, "kinds"),
        ({"worker": "w" * 101}, "worker"),
        ({"error_code": "a\x00"}, "error_code"),
        ({"text": "t" * 101}, "text"),
    ],
)
def test_invalid_filters_are_refused(selected: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        JobFilter(**selected)
    assert excinfo.value.field == field
