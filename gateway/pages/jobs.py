"""The pages of jobs: the list of the user's jobs, and one page for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import redirects, views
from gateway.container import Container
from gateway.pages import labels, loaders, timeline
from gateway.pages.page import Page
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

PATH = "/jobs"
PAGE = 20
CHILDREN = 50
SAYS: Mapping[str, str] = {
    "job_already_finished": "job_finished",
    "job_not_retryable": "job_not_retryable",
    "undo_in_progress": "job_undoing",
    "unique_key_taken": "job_of_the_same",
    "job_not_ready": "job_not_ready",
    "unavailable": "job_unavailable",
    "deadline_exceeded": "unanswered",
}
"""Flash codes of the errors of a cancel or a retry."""
_BY_NAME = {name: value for value, name in views.JOB_STATES.items()}
FILTERS: Mapping[str, tuple[views.JobStatus, ...]] = {
    "active": labels.ACTIVE,
    "completed": ("completed",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
}
"""The states that a filter lets through."""


JobAction = Callable[..., Awaitable[jobs_service_pb2.CancelJobResponse | jobs_service_pb2.RetryJobResponse]]


class Jobs(Page):
    """`/jobs` and `/jobs/{job_id}`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        actions = {"cancel": self.cancel, "retry": self.retry}
        self.routes = [
            Route(PATH, self.show_all),
            Route(f"{PATH}/{{job_id}}", self.show),
            *self.form_routes(f"{PATH}/{{job_id}}", self.show, actions, SAYS),
        ]

    async def show_all(self, request: Request) -> Response:
        """Show the user's jobs, newest first."""
        visitor = await self.begin(request)
        filters = filters_of(request)
        rpc_request = jobs_service_pb2.ListJobsRequest(owner_id=visitor.session.user_id, page_size=PAGE)
        filters.apply(rpc_request)
        demo = await loaders.demo_status(self._container.demo, visitor.identity)
        try:
            page = await self._container.jobs.list_jobs.send(visitor.identity, rpc_request)
        except errors.InvalidArgument:
            # A page of other filters or of another release has nothing older to show. An invalid kind has no jobs.
            if filters.page_token:
                return self.see(filters.address(PATH))
            return visitor.show("jobs", PATH, {"demo": demo, **_listing(filters, jobs_service_pb2.ListJobsResponse())})
        except errors.Unavailable:
            return visitor.show("jobs", PATH, {"demo": demo, **_listing(filters, None)}, status=503)
        return visitor.show("jobs", PATH, {"demo": demo, **_listing(filters, page)})

    async def show(self, request: Request) -> Response:
        """Show a job with its history."""
        visitor = await self.begin(request)
        job_id = _job_id(request)
        job = await self._container.pending_jobs.get_job(job_id, user=visitor.identity)
        history, children, demo = await asyncio.gather(
            self._history(job_id, visitor.identity),
            self._children(job, visitor.identity),
            loaders.demo_status(self._container.demo, visitor.identity),
        )
        context = {
            "demo": demo,
            "job": views.job(job),
            "owner_id": "" if job.spec.owner_id == visitor.session.user_id else job.spec.owner_id,
            "entries": timeline.entries(history),
            "children": children,
        }
        return visitor.show("job", f"{PATH}/{job_id}", context)

    async def cancel(self, request: Request) -> Response:
        """Stop the job."""
        return await self._act(request, self._container.jobs.cancel_job, "job_cancelled")

    async def retry(self, request: Request) -> Response:
        """Reopen the job."""
        return await self._act(request, self._container.jobs.retry_job, "job_retried")

    async def _act(self, request: Request, act: JobAction, say: str) -> Response:
        session, fields = await self.read_form(request, "origin")
        job_id = _job_id(request)
        call = partial(act, session.identity, job_id=job_id)
        response = await self._container.pending_jobs.wait(job_id, call, user=session.identity)
        if views.job_state(response.job) == "cancelling":
            say = "job_cancelling"
        return self.see(redirects.local(fields["origin"]) or f"{PATH}/{job_id}", say=say)

    async def _history(self, job_id: str, identity: str) -> views.JobHistory:
        try:
            return views.job_history(job_id, await self._container.jobs.get_job_history(identity, job_id=job_id))
        except errors.NotFound:
            # The job is accepted but not submitted yet.
            return {"job_id": job_id, "attempts": [], "transitions": []}

    async def _children(self, job: job_pb2.Job, identity: str) -> list[views.Job]:
        if not job.HasField("children"):
            return []
        rpc_request = jobs_service_pb2.ListJobsRequest(
            owner_id=job.spec.owner_id, parent_id=job.job_id, page_size=CHILDREN
        )
        return [views.job(child) for child in (await self._container.jobs.list_jobs.send(identity, rpc_request)).jobs]


class JobFilter:
    """Filters of a list of jobs, and the token of a page."""

    def __init__(self, *, state: str, kind: str, page_token: str, owner: str = "") -> None:
        self.state = state
        self.kind = kind
        self.owner = owner
        self.page_token = page_token

    @property
    def is_filtered(self) -> bool:
        """Whether a filter is set."""
        return bool(self.state or self.kind or self.owner)

    def apply(self, rpc_request: jobs_service_pb2.ListJobsRequest) -> None:
        """Set the filters of a request."""
        rpc_request.states.extend(_BY_NAME[name] for name in FILTERS.get(self.state, ()))
        rpc_request.kinds.extend([self.kind] if self.kind else [])
        rpc_request.page_token = self.page_token
        if self.owner:
            rpc_request.owner_id = self.owner

    def address(self, path: str, page_token: str = "") -> str:
        """Return the address of a page of the same jobs; the newest unless a token is given."""
        query = {"state": self.state, "kind": self.kind, "owner": self.owner, "page_token": page_token}
        query_string = urlencode({name: value for name, value in query.items() if value})
        return f"{path}?{query_string}" if query_string else path


def filters_of(request: Request) -> JobFilter:
    """Return the filters of a request; invalid ones are ignored."""
    query = request.query_params
    state = query.get("state", "")
    return JobFilter(
        state=state if state in FILTERS else "",
        kind=_plain(query.get("kind", ""))[:100],
        owner=_plain(query.get("owner", ""))[:100],
        page_token=_plain(query.get("page_token", "")),
    )


def _plain(text: str) -> str:
    # Neither protobuf nor PostgreSQL accepts surrogates or NUL.
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()


def _listing(filters: JobFilter, page: jobs_service_pb2.ListJobsResponse | None) -> dict[str, object]:
    jobs = [views.job(job) for job in page.jobs] if page else []
    kinds = dict.fromkeys(
        (*labels.OWN_KINDS, *(job["kind"] for job in jobs), *([filters.kind] if filters.kind else []))
    )
    return {
        "jobs": jobs if page else None,
        "filters": filters,
        "kinds": list(kinds),
        "newest": filters.address(PATH) if filters.page_token else "",
        "older": filters.address(PATH, page.next_page_token) if page and page.next_page_token else "",
    }


def _job_id(request: Request) -> str:
    try:
        return str(ids.parse(request.path_params["job_id"], "job_id"))
    except errors.InvalidArgument as error:
        raise errors.NotFound("There is no such job.", code="job_not_found") from error
