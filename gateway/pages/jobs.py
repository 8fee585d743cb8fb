"""The list of the user's jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import inputs, labels, views
from gateway.pages import lists
from gateway.pages.page import Page
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

PATH = "/jobs"
ROWS = (20, 50, 100)
"""How many jobs a page can have."""
FLASH_CODES: Mapping[str, str] = {
    "admin_required": "admin_required",
    "job_already_finished": "job_finished",
    "job_not_retryable": "job_not_retryable",
    "job_not_holdable": "job_not_holdable",
    "job_replaced": "job_replaced",
    "undo_in_progress": "job_undoing",
    "unique_key_taken": "job_of_the_same",
    "job_not_ready": "job_not_ready",
    "unavailable": "job_unavailable",
    "deadline_exceeded": "unanswered",
}
"""Flash codes of the errors of a cancel, a retry, a hold or a release."""
FILTERS: Mapping[str, tuple[views.JobStatus, ...]] = {
    "active": labels.ACTIVE,
    "completed": ("completed",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
}
"""The states that a filter lets through."""


class JobResponse(Protocol):
    """A response with the changed job."""

    @property
    def job(self) -> job_pb2.Job:
        """The job."""


JobAction = Callable[..., Awaitable[JobResponse]]


class Jobs(Page):
    """`/jobs`."""

    def routes(self) -> list[Route]:
        return [Route(PATH, self.show_all)]

    async def show_all(self, request: Request) -> Response:
        """Show the user's jobs, newest first."""
        visitor = await self.begin(request)
        filters = filters_of(request)
        rpc_request = jobs_service_pb2.ListJobsRequest(
            owner_id=visitor.session.user_id, page_size=filters.rows, max_count=lists.MAX_COUNT, include_kinds=True
        )
        filters.apply(rpc_request)
        try:
            page = await self._container.jobs.list_jobs.send(visitor.identity, rpc_request)
        except errors.InvalidArgument:
            # A page of other filters or of another release has nothing older to show. An invalid kind has no jobs.
            if filters.page_token:
                return self.redirect(filters.address(PATH))
            return visitor.show("jobs", PATH, _listing(filters, jobs_service_pb2.ListJobsResponse()))
        except errors.Unavailable:
            return visitor.show("jobs", PATH, _listing(filters, None), status=503)
        return visitor.show("jobs", PATH, _listing(filters, page))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Filters of a list of jobs, the size of its pages, and the token of a page."""

    state: str
    kind: str
    order: str
    rows: int
    page_token: str

    @property
    def is_filtered(self) -> bool:
        return bool(self.state or self.kind)

    def apply(self, rpc_request: jobs_service_pb2.ListJobsRequest) -> None:
        rpc_request.states.extend(views.JOB_STATE_NUMBERS[name] for name in FILTERS.get(self.state, ()))
        rpc_request.kinds.extend([self.kind] if self.kind else [])
        rpc_request.oldest_first = self.order == "oldest"
        rpc_request.page_token = self.page_token

    def address(self, path: str, page_token: str = "") -> str:
        """Return the address of a page of the same jobs; the first unless a token is given."""
        rows = "" if self.rows == ROWS[0] else str(self.rows)
        query = {"state": self.state, "kind": self.kind, "order": self.order, "rows": rows}
        return lists.address(path, query, page_token)


def filters_of(request: Request) -> JobFilter:
    """Return the filters of a request; invalid ones are ignored."""
    query = request.query_params
    state = query.get("state", "")
    return JobFilter(
        state=state if state in FILTERS else "",
        kind=inputs.plain(query.get("kind", ""))[:100],
        order=lists.order_of(request),
        rows=next((rows for rows in ROWS if query.get("rows") == str(rows)), ROWS[0]),
        page_token=inputs.plain(query.get("page_token", "")),
    )


def _listing(filters: JobFilter, page: jobs_service_pb2.ListJobsResponse | None) -> dict[str, object]:
    """Return what the page shows; without a page, that the jobs cannot be read now."""
    listed = page or jobs_service_pb2.ListJobsResponse()
    kinds = {*labels.OWN_KINDS, *listed.kinds, *([filters.kind] if filters.kind else ())}
    return {
        "jobs": [views.job(job) for job in listed.jobs] if page else None,
        "filters": filters,
        "kinds": sorted(kinds, key=labels.kind),
        "rows": ROWS,
        **lists.context(partial(filters.address, PATH), listed, order=filters.order, page_token=filters.page_token),
    }
