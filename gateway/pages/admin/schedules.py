"""Schedules: recurring jobs and when they run."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import ids
from gateway.container import Container
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine

PATH = "/admin/schedules"


class Schedules(AdminPage):
    """`/admin/schedules`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        actions = {"pause": self.pause, "resume": self.resume, "trigger": self.trigger}
        says = {"schedule_not_found": "schedule_unknown"}
        self.routes = [Route(PATH, self.show), *self.form_routes(PATH, self.show, actions, says)]

    async def show(self, request: Request) -> Response:
        """Show all schedules."""
        visitor = await self.begin(request)
        schedules = [
            engine.schedule(schedule)
            for schedule in (await self._container.engine.list_schedules(visitor.identity)).schedules
        ]
        # One id a form: a form sent twice submits one job.
        job_ids = {schedule["name"]: str(ids.uuid7()) for schedule in schedules}
        return visitor.show("admin/schedules", PATH, {"schedules": schedules, "fresh": job_ids})

    async def pause(self, request: Request) -> Response:
        """Pause a schedule."""
        session, fields = await self.read_form(request, "name")
        await self._container.engine.pause_schedule(session.identity, name=fields["name"])
        return self.see(PATH, say="schedule_paused")

    async def resume(self, request: Request) -> Response:
        """Resume a schedule."""
        session, fields = await self.read_form(request, "name")
        await self._container.engine.resume_schedule(session.identity, name=fields["name"])
        return self.see(PATH, say="schedule_resumed")

    async def trigger(self, request: Request) -> Response:
        """Submit a job of a schedule now and show it."""
        session, fields = await self.read_form(request, "name", "job_id")
        job_id = str(ids.parse(fields["job_id"], "job_id"))
        job = (await self._container.engine.trigger_schedule(session.identity, name=fields["name"], job_id=job_id)).job
        return self.see(f"/jobs/{job.job_id}")
