"""Kinds of jobs: their queues, limits and pauses."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway.container import Container
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import kind_pb2

PATH = "/admin/kinds"
LIMITS = ("max_running", "max_running_per_key", "rate_count", "rate_period_seconds")
MOST = 2**31 - 1
LONGEST_SECONDS = 86_400


class Kinds(AdminPage):
    """`/admin/kinds`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        actions = {"pause": self.pause, "resume": self.resume, "limits": self.limit}
        says = {"invalid_argument": "limits_not_valid"}
        self.routes = [
            Route(PATH, self.show),
            Route(f"{PATH}/confirm", self.confirm),
            *self.form_routes(PATH, self.show, actions, says),
        ]

    async def show(self, request: Request) -> Response:
        """Show all kinds."""
        visitor = await self.begin(request)
        kinds = [engine.kind(kind) for kind in (await self._container.engine.list_kinds(visitor.identity)).kinds]
        all_kinds = next((kind for kind in kinds if kind["kind"] == "*"), None)
        return visitor.show("admin/kinds", PATH, {"kinds": kinds, "is_everything_paused": _is_paused(all_kinds)})

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
        """Replace the limits of a kind."""
        session, fields = await self.read_form(request, "kind", *LIMITS)
        await self._container.engine.set_kind_limits(session.identity, kind=fields["kind"], limits=_limits(fields))
        return self.see(PATH, say="kind_limited")


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
