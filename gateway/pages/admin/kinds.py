"""Kinds of jobs: what waits, what bounds them, and whether they may begin."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects
from gateway.container import Container
from gateway.pages.admin import admission
from gateway.views import engine
from repruv.jobs.v1 import kind_pb2

PATH = "/admin/kinds"
LIMITS = ("max_running", "max_running_per_key", "rate_count", "rate_period_seconds")
MOST = 2**31 - 1
LONGEST_SECONDS = 86_400


class Kinds:
    """`/admin/kinds`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._secure = container.settings.is_https
        actions = {"pause": self.pause, "resume": self.resume, "limits": self.limit}
        says = {"invalid_argument": "limits_not_valid"}
        self.routes = [Route(PATH, self.show), *admission.forms_of(PATH, self.show, actions, says)]

    async def show(self, request: Request) -> Response:
        """Show all kinds."""
        visitor = await admission.begin(request, self._container)
        found = [engine.kind(one) for one in await self._container.engine.list_kinds(user=visitor.identity)]
        everything = next((one for one in found if one["kind"] == "*"), None)
        return visitor.show("admin/kinds", PATH, {"kinds": found, "is_everything_paused": _is_paused(everything)})

    async def pause(self, request: Request) -> Response:
        """Let nothing of a kind begin."""
        session, sent = await admission.read_form(request, self._container, "kind")
        await self._container.engine.pause_kind(sent["kind"], user=session.identity)
        return self._see("kind_paused")

    async def resume(self, request: Request) -> Response:
        """Let a kind go on."""
        session, sent = await admission.read_form(request, self._container, "kind")
        await self._container.engine.resume_kind(sent["kind"], user=session.identity)
        return self._see("kind_resumed")

    async def limit(self, request: Request) -> Response:
        """Replace the limits of a kind."""
        session, sent = await admission.read_form(request, self._container, "kind", *LIMITS)
        await self._container.engine.set_kind_limits(sent["kind"], _limits(sent), user=session.identity)
        return self._see("kind_limited")

    def _see(self, say: str) -> Response:
        return redirects.see(PATH, say=say, secure=self._secure)


def _is_paused(kind: engine.Kind | None) -> bool:
    return kind is not None and kind["paused_at"] is not None


def _limits(sent: dict[str, str]) -> kind_pb2.KindLimits:
    """Read the limits of a form; empty is no limit. Raises `InvalidArgument`."""
    limits = kind_pb2.KindLimits(
        max_running=_count(sent, "max_running", MOST),
        max_running_per_key=_count(sent, "max_running_per_key", MOST),
        rate_count=_count(sent, "rate_count", MOST),
    )
    if seconds := _count(sent, "rate_period_seconds", LONGEST_SECONDS):
        period = Duration()
        period.FromTimedelta(timedelta(seconds=seconds))
        limits.rate_period.CopyFrom(period)
    return limits


def _count(sent: dict[str, str], field: str, most: int) -> int:
    digits = sent[field].strip()
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(digits) <= most):
        raise errors.InvalidArgument(f"Must be a whole number up to {most:,}.", field=field)
    return int(digits)
