"""Kinds of jobs: their queues, limits and pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import flash, redirects
from gateway.pages.admin.admin_page import AdminPage
from gateway.plurals import counted
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2

PATH = "/admin/kinds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind with its numbers of now and of the last hour."""

    kind: engine.Kind
    is_paused: bool
    """Whether it is paused, or everything."""
    waiting: int
    scheduled: int
    running: int
    failed: int
    points: Sequence[engine.RatePoint]

    @property
    def rank(self) -> int:
        """The group: 0 needs attention, 1 active, 2 idle."""
        is_blocked = self.waiting > 0 and (self.is_paused or not self.kind["has_worker"])
        if is_blocked or self.failed:
            return 0
        return 1 if self.waiting or self.running or self.points or self.kind["paused_at"] else 2


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
        views = [engine.kind(kind) for kind in kinds.kinds]
        shown_rates = engine.rates(rates)
        rates_of = {rate["kind"]: rate for rate in shown_rates["kinds"]}
        is_everything_paused = _is_paused(next((kind for kind in views if kind["kind"] == "*"), None))
        rows = sorted(
            (
                _row(kind, rates_of.get(kind["kind"]), is_everything_paused=is_everything_paused)
                for kind in views
                if kind["kind"] != "*"
            ),
            key=lambda row: (row.rank, -row.failed, -row.waiting, -row.running, row.kind["kind"]),
        )
        context = {
            "groups": [(title, [row for row in rows if row.rank == rank]) for rank, title in enumerate(GROUPS)],
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


def _row(kind: engine.Kind, rates: engine.KindRates | None, *, is_everything_paused: bool) -> Row:
    counts = kind["counts"]
    return Row(
        kind=kind,
        is_paused=_is_paused(kind) or is_everything_paused,
        waiting=counts.get("pending", 0) + counts.get("retrying", 0),
        scheduled=counts.get("scheduled", 0),
        running=counts.get("running", 0) + counts.get("cancelling", 0),
        failed=rates["failed"] if rates else 0,
        points=rates["points"] if rates else (),
    )


def _is_paused(kind: engine.Kind | None) -> bool:
    return kind is not None and kind["paused_at"] is not None
