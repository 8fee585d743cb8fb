"""Stuck jobs and workers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.container import Container
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine

STUCK_PATH = "/admin/stuck"
WORKERS_PATH = "/admin/workers"
STUCK = 100


class Health(AdminPage):
    """`/admin/stuck` and `/admin/workers`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [Route(STUCK_PATH, self.show_stuck), Route(WORKERS_PATH, self.show_workers)]

    async def show_stuck(self, request: Request) -> Response:
        """Show stuck jobs, the longest stuck first."""
        visitor = await self.begin(request)
        stuck_jobs = (await self._container.engine.list_stuck_jobs(visitor.identity, page_size=STUCK)).jobs
        return visitor.show("admin/stuck", STUCK_PATH, {"stuck": [engine.stuck(stuck_job) for stuck_job in stuck_jobs]})

    async def show_workers(self, request: Request) -> Response:
        """Show the workers and the jobs they hold."""
        visitor = await self.begin(request)
        workers = (await self._container.engine.list_workers(visitor.identity)).workers
        return visitor.show("admin/workers", WORKERS_PATH, {"workers": [engine.worker(worker) for worker in workers]})
