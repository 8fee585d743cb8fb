"""Kinds of jobs: their queues, limits and pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway.container import Container
from gateway.pages import forms, page_request
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2, kind_pb2

PATH = "/admin/kinds"
LIMITS = ("max_running", "max_running_per_key", "rate_count", "rate_period_seconds")
MOST = 2**31 - 1
LONGEST_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind with its numbers of now and of the last hour."""

    kind: engine.Kind
    waiting: int
    running: int
    failed: int
    points: Sequence[engine.RatePoint]

    @property
    def rank(self) -> int:
        """The group: 0 needs attention, 1 active, 2 idle."""
        is_blocked = self.waiting > 0 and (self.kind["paused_at"] is not None or not self.kind["has_worker"])
        if is_blocked or self.failed:
            return 0
        return 1 if self.waiting or self.running or self.points or self.kind["paused_at"] else 2


GROUPS = ("Needs attention", "Active", "Idle")


class Kinds(AdminPage):
    """`/admin/kinds` and `/admin/kinds/{kind}`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [
            Route(PATH, self.show),
            Route(f"{PATH}/confirm", self.confirm),
            *self.form_routes(PATH, self.show, {"pause": self.pause, "resume": self.resume}),
            Route(f"{PATH}/{{kind}}", self.show_kind),
            *self.form_routes(f"{PATH}/{{kind}}", self.show_kind, {"limits": self.limit}),
        ]

    async def show(self, request: Request) -> Response:
        """Show all kinds, the worst first."""
        visitor = await self.begin(request)
        kinds, rates = await asyncio.gather(
            self._container.engine.list_kinds(visitor.identity),
            self._container.engine.get_rates(visitor.identity, span=admin_service_pb2.RATE_SPAN_HOUR),
        )
        shown = [engine.kind(kind) for kind in kinds.kinds]
        rates_of = {rate["kind"]: rate for rate in engine.rates(rates)["kinds"]}
        rows = sorted(
            (_row(kind, rates_of.get(kind["kind"])) for kind in shown if kind["kind"] != "*"),
            key=lambda row: (row.rank, -row.failed, -row.waiting, -row.running, row.kind["kind"]),
        )
        context = {
            "groups": [(title, [row for row in rows if row.rank == rank]) for rank, title in enumerate(GROUPS)],
            "count": len(rows),
            "is_everything_paused": _is_paused(next((kind for kind in shown if kind["kind"] == "*"), None)),
        }
        return visitor.show("admin/kinds", PATH, context)

    async def show_kind(self, request: Request) -> Response:
        """Show one kind and its limits."""
        visitor = await self.begin(request)
        return visitor.show("admin/kind", f"{PATH}/{request.path_params['kind']}", await self._kind(request, visitor))

    async def _kind(self, request: Request, visitor: page_request.Visitor) -> dict[str, object]:
        name = request.path_params["kind"]
        kinds = [engine.kind(kind) for kind in (await self._container.engine.list_kinds(visitor.identity)).kinds]
        kind = next((kind for kind in kinds if kind["kind"] == name), None)
        if kind is None:
            raise errors.NotFound("There is no such job type.", code="kind_not_found")
        return {"kind": kind}

    async def confirm(self, request: Request) -> Response:
        """Ask before everything is paused: how many jobs wait, run and are scheduled."""
        visitor = await self.begin(request)
        kinds = [engine.kind(kind) for kind in (await self._container.engine.list_kinds(visitor.identity)).kinds]
        running = sum(kind["counts"].get(state, 0) for kind in kinds for state in ("running", "cancelling"))
        waiting = sum(sum(kind["counts"].values()) for kind in kinds) - running
        context = {
            "question": "Pause all job types?",
            "facts": [
                f"{waiting:,} unfinished job{'' if waiting == 1 else 's'} and all new ones wait until you resume.",
                f"{running:,} running job{'' if running == 1 else 's'} will finish.",
                "Users can still submit jobs, such as turning demo mode on. Nothing happens until you resume.",
            ],
            "action": f"{PATH}/pause",
            "fields": {"kind": "*"},
            "button": "Pause everything",
            "back": PATH,
        }
        return visitor.show("admin/confirm", f"{PATH}/confirm", context)

    async def pause(self, request: Request) -> Response:
        """Pause a kind."""
        session, fields = await self.read_form(request, "kind")
        await self._container.engine.pause_kind(session.identity, kind=fields["kind"])
        return self.see(PATH, say="kind_paused")

    async def resume(self, request: Request) -> Response:
        """Resume a kind."""
        session, fields = await self.read_form(request, "kind")
        await self._container.engine.resume_kind(session.identity, kind=fields["kind"])
        return self.see(PATH, say="kind_resumed")

    async def limit(self, request: Request) -> Response:
        """Replace the limits of a kind; show the form again if one is invalid."""
        session, fields = await self.read_form(request, *LIMITS)
        name = request.path_params["kind"]
        try:
            await self._container.engine.set_kind_limits(session.identity, kind=name, limits=_limits(fields))
        except errors.InvalidArgument as error:
            if (failure := forms.mistakes_of(error, fields.keys())) is None:
                raise
            visitor = await self.begin(request)
            context = {**await self._kind(request, visitor), "form": forms.filled(fields, failure[1])}
            return visitor.show("admin/kind", f"{PATH}/{name}", context, status=failure[0])
        return self.see(f"{PATH}/{name}", say="kind_limited")


def _row(kind: engine.Kind, rates: engine.KindRates | None) -> Row:
    counts = kind["counts"]
    return Row(
        kind=kind,
        waiting=counts.get("pending", 0) + counts.get("retrying", 0),
        running=counts.get("running", 0) + counts.get("cancelling", 0),
        failed=rates["failed"] if rates else 0,
        points=rates["points"] if rates else (),
    )


def _is_paused(kind: engine.Kind | None) -> bool:
    return kind is not None and kind["paused_at"] is not None


def _limits(fields: dict[str, str]) -> kind_pb2.KindLimits:
    """Return the limits of a form; empty: no limit. Raises `InvalidArgument`."""
    limits = kind_pb2.KindLimits(
        max_running=_count(fields, "max_running", MOST),
        max_running_per_key=_count(fields, "max_running_per_key", MOST),
        rate_count=_count(fields, "rate_count", MOST),
    )
    if seconds := _count(fields, "rate_period_seconds", LONGEST_SECONDS):
        period = Duration()
        period.FromTimedelta(timedelta(seconds=seconds))
        limits.rate_period.CopyFrom(period)
    return limits


def _count(fields: dict[str, str], field: str, most: int) -> int:
    digits = fields[field].strip()
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(digits) <= most):
        raise errors.InvalidArgument(f"Must be a whole number up to {most:,}.", field=field)
    return int(digits)
