"""Stuck jobs and workers."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.pages.admin import people
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine

STUCK_PATH = "/admin/stuck"
WORKERS_PATH = "/admin/workers"
MAX_STUCK_JOBS = 100
JOBS_OF_GROUP = 5


class Health(AdminPage):
    """`/admin/stuck` and `/admin/workers`."""

    def routes(self) -> list[Route]:
        return [Route(STUCK_PATH, self.show_stuck), Route(WORKERS_PATH, self.show_workers)]

    async def show_stuck(self, request: Request) -> Response:
        """Show stuck jobs by reason and kind, the worst first, with the first jobs of each group."""
        visitor = await self.begin(request)
        client, identity = self._container.engine, visitor.identity
        problems, stuck = await asyncio.gather(
            client.list_problems(identity), client.list_stuck_jobs(identity, page_size=MAX_STUCK_JOBS)
        )
        jobs = [engine.stuck(stuck_job) for stuck_job in stuck.jobs]
        groups = [
            (
                problem,
                [job for job in jobs if (job["reason"], job["job"]["kind"]) == (problem["reason"], problem["kind"])],
            )
            for problem in map(engine.problem, problems.problems)
            if problem["reason"] != "failing"
        ]
        owners = await people.addresses(self._container, (job["job"]["owner_id"] for job in jobs), identity=identity)
        context = {
            "groups": [(problem, of_group[:JOBS_OF_GROUP]) for problem, of_group in groups],
            "addresses": owners,
            "system": engine.SYSTEM,
        }
        return visitor.show("admin/stuck", STUCK_PATH, context)

    async def show_workers(self, request: Request) -> Response:
        visitor = await self.begin(request)
        workers = (await self._container.engine.list_workers(visitor.identity)).workers
        return visitor.show("admin/workers", WORKERS_PATH, {"workers": [engine.worker(worker) for worker in workers]})
