"""Kinds of jobs: their queues, limits and pauses."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import flash, redirects
from gateway.pages.admin import kind_rows
from gateway.pages.admin.admin_page import AdminPage
from gateway.plurals import counted
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2

PATH = "/admin/kinds"
GROUPS = ("Needs attention", "Active", "Idle")


class Kinds(AdminPage):
    """`/admin/kinds`."""

    def routes(self) -> list[Route]:
        return [
            Route(f"{PATH}/confirm", self.confirm),
            *self.page_routes(PATH, self.show, {"pause": self.pause, "resume": self.resume}),
        ]

    async def show(self, request: Request) -> Response:
        """Show all kinds, the worst first."""
        visitor = await self.begin(request)
        kinds, rates = await asyncio.gather(
            self._container.engine.list_kinds(visitor.identity),
            self._container.engine.get_rates(visitor.identity, span=admin_service_pb2.RATE_SPAN_HOUR),
        )
        shown_rates = engine.rates(rates)
        by_name = kind_rows.build(map(engine.kind, kinds.kinds), shown_rates)
        is_everything_paused = "*" in by_name and by_name["*"].is_paused
        rows = [row for name, row in by_name.items() if row.kind is not None and name != "*"]
        rows.sort(key=lambda row: (-row.failed, -row.waiting, -row.running))
        rank_of = {row.name: _rank(row, is_everything_paused=is_everything_paused) for row in rows}
        context = {
            "groups": [
                (title, [row for row in rows if rank_of[row.name] == rank]) for rank, title in enumerate(GROUPS)
            ],
            "count": len(rows),
            "times": {"ended_after": shown_rates["begins_at"], "ended_before": shown_rates["ends_at"]},
            "is_everything_paused": is_everything_paused,
        }
        return visitor.show("admin/kinds", PATH, context)

    async def confirm(self, request: Request) -> Response:
        """Ask before everything is paused: how many jobs wait, run and are scheduled."""
        visitor = await self.begin(request)
        kinds = [engine.kind(kind) for kind in (await self._container.engine.list_kinds(visitor.identity)).kinds]
        running = sum(kind["counts"].get(state, 0) for kind in kinds for state in ("running", "cancelling"))
        waiting = sum(sum(kind["counts"].values()) for kind in kinds) - running
        context = {
            "question": "Pause all job types?",
            "facts": [
                f"{counted(waiting, 'unfinished job')} and all new ones wait until you resume.",
                f"{counted(running, 'running job')} will finish.",
                "Users can still submit jobs, such as enabling demo mode. Nothing happens until you resume.",
            ],
            "action": f"{PATH}/pause",
            "fields": {"kind": "*"},
            "button": "Pause everything",
            "back": PATH,
        }
        return visitor.show("admin/confirm", f"{PATH}/confirm", context)

    async def pause(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "kind", "origin")
        await self._container.engine.pause_kind(session.identity, kind=fields["kind"])
        return self._back(fields, "kind_paused")

    async def resume(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "kind", "origin")
        await self._container.engine.resume_kind(session.identity, kind=fields["kind"])
        return self._back(fields, "kind_resumed")

    def _back(self, fields: dict[str, str], flash_code: str) -> Response:
        origin = redirects.local(fields["origin"]) or PATH
        return self.redirect(origin, flash_code=flash.about(flash_code, fields["kind"]))


def _rank(row: kind_rows.KindRow, *, is_everything_paused: bool) -> int:
    """Return the position of a kind's group in `GROUPS`."""
    is_blocked = row.waiting > 0 and (row.is_paused or is_everything_paused or not row.has_worker)
    if is_blocked or row.failed:
        return 0
    return 1 if row.waiting or row.running or row.rates or row.is_paused else 2
