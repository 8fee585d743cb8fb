"""The page that exports reviews: start, progress, download."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import idempotency, redirects, views
from gateway.container import Container
from gateway.pages import loaders, page_request
from gateway.views import exports as export_views

PATH = "/settings/exports"
_SAYS = {
    "demo_not_enabled": "changed",
    "export_running": "changed",
    "idempotency_key_reused": "form_used",
    "unavailable": "unavailable",
    "deadline_exceeded": "unanswered",
}
"""Flash codes of the errors of a start."""


class Exports:
    """`/settings/exports`. The forms that cancel and retry post to the job."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.routes = [
            Route(PATH, self.show),
            Route(f"{PATH}/start", page_request.form_handler(self.start, self.show, says=_SAYS), methods=["POST"]),
            Route(f"{PATH}/start", self.go_to_page),
        ]

    async def show(self, request: Request) -> Response:
        """Show the export, with the progress of its job."""
        visitor = await page_request.begin(request, self._container)
        demo, context = await asyncio.gather(
            loaders.demo_status(self._container.demo, visitor.identity), self._export(visitor.identity)
        )
        return visitor.show("exports", PATH, {"demo": demo, **context})

    async def go_to_page(self, request: Request) -> Response:
        """Redirect to the page."""
        return redirects.see(PATH, secure=self._container.settings.is_https)

    async def start(self, request: Request) -> Response:
        """Start an export."""
        session, sent = await page_request.read_form(request, self._container, "idempotency_key")
        key = idempotency.idempotency_key(sent["idempotency_key"] or None)
        await self._container.exports.start_export(idempotency_key=key, user=session.identity)
        return redirects.see(PATH, secure=self._container.settings.is_https)

    async def _export(self, identity: str) -> dict[str, Any]:
        """Return the export, None while its service is unavailable, and the unfinished job that writes it."""
        try:
            export = await self._container.exports.get_export(user=identity, quick=True)
            job = None
            if export_views.export_state(export) == "exporting":
                job = views.job(await self._container.pending_jobs.get_job(export.job_id, user=identity))
                if job["status"] in views.FINISHED:
                    job, export = None, await self._container.exports.get_export(user=identity, quick=True)
        except (errors.Unavailable, errors.NotFound):
            return {"export": None, "job": None}
        return {"export": export_views.export_status(export), "job": job}
