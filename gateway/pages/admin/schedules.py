"""Schedules: recurring jobs and when they run."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import ids
from gateway import redirects
from gateway.container import Container
from gateway.pages.admin import admission
from gateway.views import engine

PATH = "/admin/schedules"


class Schedules:
    """`/admin/schedules`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._secure = container.settings.is_https
        actions = {"pause": self.pause, "resume": self.resume, "trigger": self.trigger}
        says = {"schedule_not_found": "schedule_unknown"}
        self.routes = [Route(PATH, self.show), *admission.forms_of(PATH, self.show, actions, says)]

    async def show(self, request: Request) -> Response:
        """Show all schedules."""
        visitor = await admission.begin(request, self._container)
        found = [engine.schedule(one) for one in await self._container.engine.list_schedules(user=visitor.identity)]
        # One id a form: sent twice, it makes one job.
        fresh = {one["name"]: str(ids.uuid7()) for one in found}
        return visitor.show("admin/schedules", PATH, {"schedules": found, "fresh": fresh})

    async def pause(self, request: Request) -> Response:
        """Stop a schedule."""
        session, sent = await admission.read_form(request, self._container, "name")
        await self._container.engine.pause_schedule(sent["name"], user=session.identity)
        return redirects.see(PATH, say="schedule_paused", secure=self._secure)

    async def resume(self, request: Request) -> Response:
        """Let a schedule go on."""
        session, sent = await admission.read_form(request, self._container, "name")
        await self._container.engine.resume_schedule(sent["name"], user=session.identity)
        return redirects.see(PATH, say="schedule_resumed", secure=self._secure)

    async def trigger(self, request: Request) -> Response:
        """Make a job of a schedule now, and show it."""
        session, sent = await admission.read_form(request, self._container, "name", "job_id")
        job_id = str(ids.parse(sent["job_id"], "job_id"))
        job = await self._container.engine.trigger_schedule(sent["name"], job_id, user=session.identity)
        return redirects.see(f"/jobs/{job.job_id}", secure=self._secure)
