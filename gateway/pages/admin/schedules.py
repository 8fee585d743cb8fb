"""Schedules: what happens by itself, and when."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import ids
from gateway import parts
from gateway.pages import redirects
from gateway.pages.admin import admission
from gateway.views import engine

PATH = "/admin/schedules"


class Schedules:
    """`/admin/schedules`."""

    def __init__(self, assembled: parts.Parts) -> None:
        self._parts = assembled
        self._secure = assembled.settings.is_https
        actions = {"pause": self.pause, "resume": self.resume, "trigger": self.trigger}
        says = {"schedule_not_found": "schedule_unknown"}
        self.routes = [Route(PATH, self.show), *admission.forms_of(PATH, self.show, actions, says)]

    async def show(self, request: Request) -> Response:
        """Show all schedules."""
        visitor = await admission.begin(request, self._parts)
        found = [engine.schedule(one) for one in await self._parts.engine.list_schedules(user=visitor.identity)]
        # One id a form: sent twice, it makes one job.
        fresh = {one["name"]: str(ids.uuid7()) for one in found}
        return visitor.show("admin/schedules", PATH, {"schedules": found, "fresh": fresh})

    async def pause(self, request: Request) -> Response:
        """Stop a schedule."""
        session, sent = await admission.posted(request, self._parts, "name")
        await self._parts.engine.pause_schedule(sent["name"], user=session.identity)
        return redirects.see(PATH, say="schedule_paused", secure=self._secure)

    async def resume(self, request: Request) -> Response:
        """Let a schedule go on."""
        session, sent = await admission.posted(request, self._parts, "name")
        await self._parts.engine.resume_schedule(sent["name"], user=session.identity)
        return redirects.see(PATH, say="schedule_resumed", secure=self._secure)

    async def trigger(self, request: Request) -> Response:
        """Make a job of a schedule now, and show it."""
        session, sent = await admission.posted(request, self._parts, "name", "job_id")
        job_id = str(ids.parse(sent["job_id"], "job_id"))
        job = await self._parts.engine.trigger_schedule(sent["name"], job_id, user=session.identity)
        return redirects.see(f"/jobs/{job.job_id}", secure=self._secure)
