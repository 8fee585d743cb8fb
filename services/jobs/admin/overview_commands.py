"""Commands for rates, problems and errors."""

from __future__ import annotations

import argparse

from repruv.jobs.v1 import admin_service_pb2 as messages
from services.jobs.admin import answers, engine_commands, tables
from services.jobs.admin.connection import Connection


async def show(jobs: Connection, args: argparse.Namespace) -> int:
    """Show rates by kind, what needs attention, and workers."""
    span = messages.RateSpan.Value(f"RATE_SPAN_{args.span.upper()}")
    rates = await jobs.call(jobs.admin.GetRates, messages.GetRatesRequest(span=span))
    problems = await jobs.call(jobs.admin.ListProblems, messages.ListProblemsRequest())
    workers = await jobs.call(jobs.admin.ListWorkers, messages.ListWorkersRequest())
    if args.json:
        parts = {"rates": rates, "problems": problems, "workers": workers}
        print("{" + ", ".join(f'"{name}": {answers.to_json(part)}' for name, part in parts.items()) + "}")
        return 0
    _show_problems(problems)
    print()
    _show_rates(rates)
    print()
    engine_commands.show_workers(workers)
    return 0


def _show_problems(response: messages.ListProblemsResponse) -> None:
    rows = [
        (problem.reason, problem.kind, f"{problem.count:,}", f"{problem.owner_count:,}", tables.length(problem, "age"))
        for problem in response.problems
    ]
    tables.show(("PROBLEM", "KIND", "JOBS", "OWNERS", "FOR"), rows, nothing="nothing needs attention")


def _show_rates(response: messages.GetRatesResponse) -> None:
    rows = [
        (
            rates.kind,
            f"{rates.completed:,}",
            f"{rates.failed:,}",
            f"{rates.cancelled:,}",
            *(tables.length(rates, field) for field in ("wait_p50", "wait_p95", "run_p50", "run_p95")),
        )
        for rates in (response.total, *response.kinds)
    ]
    header = ("KIND", "COMPLETED", "FAILED", "CANCELLED", "WAIT P50", "WAIT P95", "RUN P50", "RUN P95")
    tables.show(header, rows, nothing="no rates")


def show_errors(response: messages.ListErrorGroupsResponse) -> None:
    rows = [
        (
            group.kind,
            group.code,
            group.exception_type or tables.NOTHING,
            group.place or tables.NOTHING,
            f"{group.count:,}",
            f"{group.owner_count:,}",
            tables.since(group, "last_time"),
            group.fingerprint or tables.NOTHING,
            group.message,
        )
        for group in response.groups
    ]
    header = ("KIND", "CODE", "EXCEPTION", "PLACE", "JOBS", "OWNERS", "LAST", "FINGERPRINT", "MESSAGE")
    tables.show(header, rows, nothing="no failed jobs")
