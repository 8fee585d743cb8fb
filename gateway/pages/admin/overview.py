"""The overview of the job engine: rates over time, what needs attention, kinds and workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
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
_WAITING = ("pending", "retrying")
_RUNNING = ("running", "cancelling")


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
        states = [engine.kind(kind) for kind in kinds.kinds]
        context = {
            "span": span,
            "missing": missing,
            "times": {"ended_after": shown_rates["begins_at"], "ended_before": shown_rates["ends_at"]},
            "spans": SPANS,
            "total": shown_rates["total"],
            "rows": _rows(shown_rates, states),
            "problems": [engine.problem(problem) for problem in problems.problems],
            "workers": [engine.worker(worker) for worker in workers.workers],
            "waiting": sum(_count(kind, _WAITING) for kind in states),
            "running": sum(_count(kind, _RUNNING) for kind in states),
            "is_paused": any(kind["kind"] == "*" and kind["paused_at"] for kind in states),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A kind in the table."""

    kind: str
    rates: engine.KindRates | None
    ended: int
    """Completed, failed and cancelled ones."""
    failed: int
    waiting: int
    running: int
    paused: bool
    has_worker: bool


def _rows(rates: engine.Rates, kinds: list[engine.Kind]) -> list[_Row]:
    """Return the kinds that ended or have jobs; those with failures first, then the busiest."""
    by_kind = {kind["kind"]: kind for kind in kinds if kind["kind"] != "*"}
    rate_of = {rate["kind"]: rate for rate in rates["kinds"]}
    names = sorted(rate_of.keys() | {name for name, kind in by_kind.items() if any(kind["counts"].values())})
    rows = []
    for name in names:
        rate, kind = rate_of.get(name), by_kind.get(name)
        rows.append(
            _Row(
                kind=name,
                rates=rate,
                ended=rate["completed"] + rate["failed"] + rate["cancelled"] if rate else 0,
                failed=rate["failed"] if rate else 0,
                waiting=_count(kind, _WAITING) if kind else 0,
                running=_count(kind, _RUNNING) if kind else 0,
                paused=bool(kind and kind["paused_at"]),
                has_worker=bool(kind and kind["has_worker"]),
            )
        )
    return sorted(rows, key=lambda row: (-row.failed, -row.ended - row.waiting))


def _count(kind: engine.Kind, states: tuple[str, ...]) -> int:
    return sum(kind["counts"].get(state, 0) for state in states)
