"""The overview of the job engine: rates over time, what needs attention, kinds and workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway.pages.admin import kind_rows
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2

PATH = "/admin"
SPANS: Mapping[str, tuple[str, str, admin_service_pb2.RateSpan.ValueType]] = {
    "1h": ("1 hour", "in the last hour", admin_service_pb2.RATE_SPAN_HOUR),
    "24h": ("24 hours", "in the last 24 hours", admin_service_pb2.RATE_SPAN_DAY),
    "7d": ("7 days", "in the last 7 days", admin_service_pb2.RATE_SPAN_WEEK),
}
"""Label, phrase and value of each time; the names are those of the filter of the list of jobs."""
PARTS = 4
"""Reads of the page. It is shown if one of them succeeds."""
logger = logging.getLogger(__name__)
Response_ = TypeVar("Response_")


class Overview(AdminPage):
    """`/admin`."""

    def routes(self) -> list[Route]:
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show how the engine does."""
        visitor = await self.begin(request)
        span = request.query_params.get("span", "")
        span = span if span in SPANS else "1h"
        client, identity = self._container.engine, visitor.identity
        missing: list[str] = []
        rates, problems, kinds, workers = await asyncio.gather(
            _read(
                client.get_rates(identity, span=SPANS[span][2]), admin_service_pb2.GetRatesResponse(), "rates", missing
            ),
            _read(client.list_problems(identity), admin_service_pb2.ListProblemsResponse(), "problems", missing),
            _read(client.list_kinds(identity), admin_service_pb2.ListKindsResponse(), "job types", missing),
            _read(client.list_workers(identity), admin_service_pb2.ListWorkersResponse(), "workers", missing),
        )
        if len(missing) == PARTS:
            raise errors.Unavailable("Jobs aren't responding. Try again in a moment.")
        shown_rates = engine.rates(rates)
        by_name = kind_rows.build(map(engine.kind, kinds.kinds), shown_rates)
        everything = by_name.pop("*", None)
        # Kinds with failures first, then the busiest.
        rows = sorted(by_name.values(), key=lambda row: (-row.failed, -row.ended - row.waiting))
        context = {
            "span": span,
            "missing": missing,
            "times": {"ended_after": shown_rates["begins_at"], "ended_before": shown_rates["ends_at"]},
            "spans": SPANS,
            "total": shown_rates["total"],
            "rows": [row for row in rows if row.rates or (row.kind and any(row.kind["counts"].values()))],
            "problems": [engine.problem(problem) for problem in problems.problems],
            "workers": [engine.worker(worker) for worker in workers.workers],
            "waiting": sum(row.waiting for row in rows),
            "running": sum(row.running for row in rows),
            "is_paused": everything is not None and everything.is_paused,
        }
        return visitor.show("admin/overview", PATH, context)


async def _read(reading: Awaitable[Response_], without: Response_, name: str, missing: list[str]) -> Response_:
    """Return a part of the page; `without`, and its name in `missing`, while it cannot be read."""
    try:
        return await reading
    except (errors.Unavailable, errors.DeadlineExceeded) as error:
        logger.warning("a part of the overview is not available", extra={"part": name, "cause": error.code})
        missing.append(name)
        return without
