"""*Break it yourself*: parts of the system are broken while the user's demo job runs. Only where `make up` allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import idempotency, views
from gateway.breaks import WATCH_SECONDS, Breaks
from gateway.clients.launcher import Break
from gateway.container import Container
from gateway.pages import loaders
from gateway.pages.page import Page

INTERACTIONS = 20_000
"""At 100 rows in 0.1 s the job takes at least 20 s; a guest may have no more."""
PARTS = ("worker", "nats", "postgres", "jobs")
FLASH_CODES = {
    "break_running": "break_running",
    "break_too_soon": "break_too_soon",
    "nothing_to_break": "nothing_to_break",
    "part_unknown": "nothing_to_break",
    "launcher_unavailable": "launcher_unavailable",
    "launcher_busy": "launcher_unavailable",
    "unavailable": "unavailable",
    "deadline_exceeded": "unanswered",
    "rate_limited": "too_much",
}


class BreakIt(Page):
    """`/settings/demo-mode/break`."""

    flash_codes = FLASH_CODES

    def __init__(self, container: Container, breaks: Breaks) -> None:
        super().__init__(container)
        self._breaks = breaks

    def routes(self) -> list[Route]:
        actions = {"start": self.start, "part": self.break_part}
        return self.page_routes(views.BREAK_PATH, self.show, actions)

    async def show(self, request: Request) -> Response:
        """Show the job, what was broken while it ran, and at its end whether a row is missing."""
        visitor = await self.begin(request, with_demo=False)
        demo, breaks = await asyncio.gather(
            loaders.demo_status(self._container.demo, visitor.identity), self._list_breaks()
        )
        visible = await self._visible(visitor.identity) if demo["status"] == "enabled" else None
        of_job = [each for each in breaks or [] if each.job_id == demo["job_id"]]
        context: dict[str, Any] = {
            "demo": demo,
            "breaks": of_job,
            "is_waiting": any(_is_watched(each) for each in of_job),
            "watch_seconds": WATCH_SECONDS,
            "has_launcher": breaks is not None,
            "is_broken": any(not each.is_back for each in breaks or []),
            "parts": PARTS,
            "interactions": INTERACTIONS,
            "visible": visible,
        }
        return visitor.show("break_it", views.BREAK_PATH, context)

    async def start(self, request: Request) -> Response:
        """Enable demo mode in slow motion."""
        session, fields = await self.read_form(request, "idempotency_key")
        await self._breaks.launcher.slow_down()
        try:
            await self._container.demo.enable_demo(
                session.identity,
                interaction_count=INTERACTIONS,
                idempotency_key=idempotency.idempotency_key(fields["idempotency_key"] or None),
            )
        except (errors.FailedPrecondition, errors.Aborted):
            return self.redirect(views.BREAK_PATH, flash_code="changed")
        return self.redirect(views.BREAK_PATH)

    async def break_part(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "part")
        await self._breaks.break_part(fields["part"], identity=session.identity)
        return self.redirect(views.BREAK_PATH)

    async def _list_breaks(self) -> Sequence[Break] | None:
        try:
            return await self._breaks.launcher.list_breaks()
        except errors.Unavailable:
            return None

    async def _visible(self, identity: str) -> int | None:
        """Return the number of rows that the user sees; None while it cannot be read."""
        try:
            return (await self._container.demo.get_dashboard.quick(identity)).interaction_count
        except (errors.Unavailable, errors.DeadlineExceeded):
            return None


def _is_watched(each: Break) -> bool:
    return each.seconds is None and each.elapsed_seconds < WATCH_SECONDS
