"""Jobs of all users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import redirects, views
from gateway.container import Container
from gateway.pages import jobs, labels
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

PATH = "/admin/jobs"


class Jobs(AdminPage):
    """`/admin/jobs`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        actions = {"cancel": self.cancel, "retry": self.retry}
        says = {**jobs.SAYS, "job_not_found": "job_unknown"}
        self.routes = [
            Route("/admin", self.go_to_page),
            Route(PATH, self.show),
            *self.form_routes(PATH, self.show, actions, says),
        ]

    async def show(self, request: Request) -> Response:
        """Show jobs across owners, newest first."""
        visitor = await self.begin(request)
        filters = jobs.filters_of(request)
        rpc_request = jobs_service_pb2.ListJobsRequest(page_size=jobs.PAGE)
        filters.apply(rpc_request)
        try:
            page = await self._container.jobs.list_jobs(rpc_request, user=visitor.identity)
            kind_names = [kind.kind for kind in await self._container.engine.list_kinds(user=visitor.identity)]
        except errors.InvalidArgument as error:
            # An owner that is not an id has no jobs. A token of other filters is invalid.
            is_owner = error.field == "owner_id"
            page, kind_names = jobs_service_pb2.ListJobsResponse(), []
            if not is_owner and filters.page_token:
                return self.see(filters.address(PATH))
        kinds = dict.fromkeys(name for name in (*kind_names, filters.kind) if name and name != "*")
        context = {
            "jobs": [engine.owned_job(job) for job in page.jobs],
            "filters": filters,
            "kinds": sorted(kinds, key=labels.kind),
            "newest": filters.address(PATH) if filters.page_token else "",
            "older": filters.address(PATH, page.next_page_token) if page.next_page_token else "",
            "system": engine.SYSTEM,
        }
        return visitor.show("admin/jobs", PATH, context)

    async def go_to_page(self, request: Request) -> Response:
        """Redirect to the first page for admins."""
        return RedirectResponse(PATH, 303)

    async def cancel(self, request: Request) -> Response:
        """Stop a job."""
        return await self._act(request, self._container.jobs.cancel_job, "job_cancelled")

    async def retry(self, request: Request) -> Response:
        """Reopen a job."""
        return await self._act(request, self._container.jobs.retry_job, "job_retried")

    async def _act(self, request: Request, call: Callable[..., Awaitable[job_pb2.Job]], say: str) -> Response:
        session, fields = await self.read_form(request, "job_id", "origin")
        job = await call(str(ids.parse(fields["job_id"], "job_id")), user=session.identity)
        if views.job_state(job) == "cancelling":
            say = "job_cancelling"
        return self.see(redirects.local(fields["origin"]) or PATH, say=say)
