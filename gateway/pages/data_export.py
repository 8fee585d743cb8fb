"""The page that exports the user's data: start, progress, download."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.identity.client_info import client_info
from gateway.pages.page import Page
from gateway.views import exports as export_views

PATH = views.DATA_EXPORT_PATH
_FLASH_CODES = {
    "data_export_running": "export_running",
    "too_many_attempts": "too_much",
    "unavailable": "admin_unavailable",
    "deadline_exceeded": "unanswered",
}
"""Flash codes of the errors of a start."""


class DataExport(Page):
    """`/settings/data`. The forms that cancel and retry post to the job."""

    def routes(self) -> list[Route]:
        return self.page_routes(PATH, self.show, {"start": self.start}, _FLASH_CODES)

    async def show(self, request: Request) -> Response:
        """Show the export, with the progress of its job."""
        visitor = await self.begin(request)
        context = await self._export(visitor.identity)
        if context["data_export"]["status"] in ("ready", "failed"):
            visitor = await self.without_notices(visitor, context["data_export"]["job_id"])
        return visitor.show("data", PATH, context)

    async def start(self, request: Request) -> Response:
        session, _ = await self.read_form(request)
        await self._container.data_exports.start(session.identity, client=client_info(request))
        return self.redirect(PATH)

    async def _export(self, identity: str) -> dict[str, Any]:
        """Return the export and the job that writes it; None while the job has not reached the jobs service."""
        read, job = await self._container.data_exports.get(identity), None
        if export_views.data_export(read.data_export)["status"] == "exporting":
            try:
                response = await self._container.jobs.get_job.quick(identity, job_id=read.data_export.job_id)
            except (errors.NotFound, errors.Unavailable, errors.DeadlineExceeded):
                pass
            else:
                job = views.job(response.job)
                if job["status"] in views.FINISHED:
                    job, read = None, await self._container.data_exports.get(identity)
        return {
            "data_export": export_views.data_export(read.data_export),
            "fresh_until": views.optional_time(read, "fresh_until_time"),
            "job": job,
        }
