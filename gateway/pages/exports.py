"""The page that exports reviews: start, progress, download."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import idempotency, views
from gateway.pages import loaders
from gateway.pages.page import Page
from gateway.views import exports as export_views

PATH = "/settings/exports"
_FLASH_CODES = {
    "demo_not_enabled": "changed",
    "export_running": "export_running",
    "idempotency_key_reused": "form_used",
    "unavailable": "unavailable",
    "deadline_exceeded": "unanswered",
}
"""Flash codes of the errors of a start."""


class Exports(Page):
    """`/settings/exports`. The forms that cancel and retry post to the job."""

    def routes(self) -> list[Route]:
        return self.page_routes(PATH, self.show, {"start": self.start}, _FLASH_CODES)

    async def show(self, request: Request) -> Response:
        """Show the export, with the progress of its job."""
        visitor = await self.begin(request, with_demo=False)
        demo, context = await asyncio.gather(
            loaders.demo_status(self._container.demo, visitor.identity), self._export(visitor.identity)
        )
        if (export := context["export"]) and export["status"] in ("ready", "failed"):
            visitor = await self.without_notices(visitor, export["job_id"])
        return visitor.show("exports", PATH, {"demo": demo, **context})

    async def start(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "idempotency_key")
        key = idempotency.idempotency_key(fields["idempotency_key"] or None)
        await self._container.exports.start_export(session.identity, idempotency_key=key)
        return self.redirect(PATH)

    async def _export(self, identity: str) -> dict[str, Any]:
        """Return the export, None while its service is unavailable, and the unfinished job that writes it."""
        try:
            export = (await self._container.exports.get_export.quick(identity)).export
            job = None
            if export_views.export_state(export) == "exporting":
                job = views.job(await self._container.pending_jobs.get_job(export.job_id, identity=identity))
                if job["status"] in views.FINISHED:
                    job, export = None, (await self._container.exports.get_export.quick(identity)).export
        except (errors.Unavailable, errors.NotFound):
            return {"export": None, "job": None}
        return {"export": export_views.export_status(export), "job": job}
