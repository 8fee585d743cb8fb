"""Jobs of all users, as a table."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import flash, labels, redirects, views
from gateway.pages import current_jobs, jobs, lists
from gateway.pages.admin import job_query, people
from gateway.pages.admin.admin_page import AdminPage
from gateway.pages.admin.job_query import PATH, JobQuery
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2


class Jobs(AdminPage):
    """`/admin/jobs`."""

    def routes(self) -> list[Route]:
        actions = {"cancel": self.cancel, "retry": self.retry, "release": self.release}
        flash_codes = {**jobs.FLASH_CODES, "job_not_found": "job_unknown"}
        return self.page_routes(PATH, self.show, actions, flash_codes)

    async def show(self, request: Request) -> Response:
        visitor = await self.begin(request)
        query = job_query.read(request.query_params, visitor.reader.zone)
        token = job_query.page_token(request)
        if job_id := _job_id(query.text):
            return self.redirect(f"/jobs/{job_id}")
        engine_client, identity = self._container.engine, visitor.identity
        owner_id = await people.owner_id(self._container, query.owner, identity=identity) if query.owner else ""
        page, counts = admin_service_pb2.SearchJobsResponse(), admin_service_pb2.CountJobsResponse()
        kinds = (await engine_client.list_kinds(identity)).kinds
        try:
            if owner_id is not None:
                rpc_request = admin_service_pb2.SearchJobsRequest(
                    filter=query.message(owner_id),
                    order=job_query.ORDERS[query.order],
                    page_size=query.rows,
                    page_token=token,
                )
                page, counts = await asyncio.gather(
                    engine_client.search_jobs.send(identity, rpc_request),
                    engine_client.count_jobs(identity, filter=rpc_request.filter),
                )
        except errors.InvalidArgument:
            # A token of other filters, or an invalid name of a kind.
            if token:
                return self.redirect(query.address())
        rows = [engine.job_row(row) for row in page.rows]
        context = {
            **choices(query, [kind.kind for kind in kinds]),
            "rows": rows,
            "changes": query.changes,
            "counts": engine.job_counts(counts),
            "addresses": await people.addresses(self._container, (row["owner_id"] for row in rows), identity=identity),
            "origin": query.page_address(token),
            **lists.neighbours(query.page_address, token, page.previous_page_token, page.next_page_token),
            "system": engine.SYSTEM,
        }
        return visitor.show("admin/jobs", PATH, context)

    async def cancel(self, request: Request) -> Response:
        return await self._act(request, self._container.jobs.cancel_job, "job_cancelled")

    async def retry(self, request: Request) -> Response:
        """Reopen a job, unless a newer one has replaced it."""
        return await self._act(request, partial(current_jobs.retry, self._container), "job_retried")

    async def release(self, request: Request) -> Response:
        """Let a job on hold run."""
        return await self._act(request, self._container.engine.release_job, "job_released")

    async def _act(self, request: Request, act: jobs.JobAction, flash_code: str) -> Response:
        session, fields = await self.read_form(request, "job_id", "origin")
        response = await act(session.identity, job_id=str(ids.parse(fields["job_id"], "job_id")))
        if views.job_state(response.job) == "cancelling":
            flash_code = "job_cancelling"
        flash_code = flash.about(flash_code, response.job.spec.kind)
        return self.redirect(redirects.local(fields["origin"]) or PATH, flash_code=flash_code)


def choices(query: JobQuery, kinds: list[str]) -> dict[str, object]:
    """Return what the form of the filters shows."""
    names = {name for name in (*kinds, query.kind) if name and name != "*"}
    return {
        "query": query,
        "kinds": sorted(names, key=labels.kind),
        "states": {name: label for name, (label, _) in job_query.STATES.items()},
        "problem_names": labels.PROBLEMS,
        "periods": {name: label for name, (label, _) in job_query.SINCE.items()},
        "sizes": sorted(job_query.SIZES),
    }


def _job_id(text: str) -> str:
    try:
        return str(ids.parse(text, "text"))
    except errors.InvalidArgument:
        return ""
