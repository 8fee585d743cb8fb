"""The commands and their arguments."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from chassis import protobuf
from services.jobs.admin.job_commands import CHANGES
from services.jobs.operators import overview

ORDERS = ("newest", "oldest", "longest-wait", "longest-run")
STATES = ("scheduled", "pending", "running", "retrying", "cancelling", "completed", "failed", "cancelled")
ADDRESS = (
    "email addresses are known to auth only: search for the address on the page /admin/search, which has the user id"
)

_UNITS = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}
MAX_NUMBER = 2**31 - 1
"""Of the fields that take numbers."""
_NUMBER = re.compile(r"[0-9]{1,10}")
_SPAN = re.compile(r"([0-9]{1,6}[smh]|[0-9]{1,4}d)")
_RATE = re.compile(r"([0-9]{1,10})/([0-9]{0,6})(second|minute|hour|day|s|m|h)")

_DESCRIPTION = """Show and control the job engine. The jobs service is the one at JOBS_TARGET (host:port); calls are signed with
IDENTITY_KEY, as the service whose public key TRUSTED_IDENTITY_KEYS names, without TRUSTED_IDENTITY_KEYS as `jobs`."""

Add = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command: its name and its meaning."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; exit with 2 and a message on a usage error."""
    parser = argparse.ArgumentParser(prog="python -m services.jobs admin", description=_DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print JSON with the field names of the protos")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def add(name: str, meaning: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return command

    _add_job_commands(add)
    _add_engine_commands(add)
    if garbled := next((argument for argument in arguments if not _is_text(argument)), None):
        parser.error(f"{garbled!r} is not UTF-8")
    return parser.parse_args(arguments)


def _add_job_commands(add: Add) -> None:
    command = add("list", "List jobs, newest first")
    _add_filter(command)
    command.add_argument(
        "--parent", default="", metavar="JOB", help="only children of this job; combines with no filter"
    )
    command.add_argument("--order", choices=ORDERS, default="newest", help="the order (newest)")
    command.add_argument("--limit", type=_positive, default=20, metavar="N", help="at most N jobs (20)")
    command = add(
        "bulk", "Retry, cancel, hold or release all jobs that match a filter, by a job that shows its progress"
    )
    command.add_argument("change", choices=tuple(CHANGES))
    _add_filter(command)
    command.add_argument("--per-second", type=_positive, default=20, metavar="N", help="at most N jobs a second (20)")
    command.add_argument("--dry-run", action="store_true", help="count the jobs only")
    command = add(
        "search",
        "Find jobs, errors, kinds, schedules and workers by an id of a job or request, an error text or a name",
    )
    command.add_argument("text", metavar="TEXT")
    _add_filter(add("count", "Count jobs, by kind and state"))
    for name, meaning in (
        ("show", "Show a job with its attempts, steps, tracebacks, log lines and transitions"),
        ("retry", "Reopen a failed or cancelled job"),
        ("cancel", "Cancel a waiting job, or ask the worker of a running one to stop"),
        ("hold", "Put a waiting job on hold: it does not start until it is released"),
        ("release", "Release a job that is on hold"),
        ("watch", "Watch a job until it has ended; exit with 0 if it completed"),
    ):
        command = add(name, meaning)
        command.add_argument("job_id", metavar="JOB")
        if name == "cancel":
            command.add_argument("--reason", default="", help="the reason (requested)")

    command = add("run", "Submit a job of a kind that a worker has registered")
    command.add_argument("kind", metavar="KIND")
    command.add_argument("--payload", type=_object, default={}, metavar="JSON", help="its payload, a JSON object ({})")
    command.add_argument("--owner", type=_owner, default="", metavar="UUID", help="its owner (the system)")
    command = add("replay", "Submit a job with the payload of another, and changes")
    command.add_argument("job_id", metavar="JOB")
    command.add_argument(
        "--set", type=_field, action="append", default=[], metavar="FIELD=JSON", help="a field to change; repeatable"
    )


def _add_engine_commands(add: Add) -> None:
    command = add("overview", "Show rates by kind, what needs attention, and workers")
    command.add_argument("--span", choices=("hour", "day", "week"), default="hour", help="the time (hour)")
    command = add("errors", "List failed jobs, grouped by cause, the latest failure first")
    command.add_argument("--kind", default="", help="only jobs of this kind")
    add("kinds", "List kinds with their limits, and how many of their jobs are in each state")
    _add_kind(add("kind", "Show a kind, and who paused, resumed or limited it"))
    command = add("limit", "Change limits of a kind; limits that are not named are unchanged")
    _add_kind(command)
    command.add_argument("--max-running", type=_count, metavar="N", help="at most N running jobs; 0: no limit")
    command.add_argument(
        "--max-running-per-key", type=_count, metavar="N", help="at most N running jobs per concurrency key (1); 0: 1"
    )
    command.add_argument(
        "--rate", type=_rate, metavar="N/PERIOD", help="at most N starts per period, as 10/minute or 5/30s; 0: no limit"
    )
    _add_kind(add("pause", "Pause a kind: no job of it is claimed; running jobs continue"))
    _add_kind(add("resume", "End the pause of a kind"))

    add("schedules", "List schedules")
    command = add("set-schedule", "Create or replace a schedule of operators, whose name begins with operator.")
    command.add_argument("name", metavar="SCHEDULE")
    command.add_argument("kind", metavar="KIND")
    command.add_argument("cron", metavar="CRON", help="minute, hour, day, month and weekday, as in crontab(5)")
    command.add_argument("--time-zone", default="UTC", help="an IANA time zone (UTC)")
    command.add_argument(
        "--overlap",
        choices=("skip", "queue", "allow"),
        default="skip",
        help="while the previous job is unfinished (skip)",
    )
    command.add_argument("--payload", type=_object, default={}, metavar="JSON", help="the payload of its jobs ({})")
    add("delete-schedule", "Delete a schedule of operators; its jobs stay").add_argument("name", metavar="SCHEDULE")
    add("schedule", "Show a schedule with its next and its past times").add_argument("name", metavar="SCHEDULE")
    for name, meaning in (
        ("trigger", "Submit a job of a schedule now"),
        ("pause-schedule", "Pause a schedule"),
        ("resume-schedule", "Resume a schedule from now on"),
    ):
        add(name, meaning).add_argument("name", metavar="SCHEDULE")

    command = add(
        "stuck", "List jobs that need attention, the longest stuck first; `overview` has them by kind, the worst first"
    )
    command.add_argument(
        "--limit", dest="page_size", type=_positive, default=20, metavar="N", help="at most N jobs (20), up to 100"
    )
    add("workers", "List workers that were seen recently or hold jobs")


def _add_filter(command: argparse.ArgumentParser) -> None:
    command.add_argument("--owner", type=_owner, default="", metavar="UUID", help="only jobs of this owner")
    command.add_argument("--kind", action="append", default=[], help="only jobs of this kind; repeatable")
    command.add_argument(
        "--state", action="append", default=[], choices=STATES, help="only jobs in this state; repeatable"
    )
    command.add_argument("--worker", default="", help="only jobs whose latest attempt runs or ran on this worker")
    command.add_argument("--error", default="", metavar="CODE", help="only jobs with this error code")
    command.add_argument(
        "--fingerprint",
        default="",
        help="only jobs whose latest attempt failed with this fingerprint; none: raised nothing",
    )
    command.add_argument("--text", default="", help="only jobs with this text in a message or key")
    command.add_argument(
        "--since", type=_span, metavar="TIME", help="only jobs submitted in this time, as 15m, 24h, 7d"
    )
    command.add_argument(
        "--ended-since", type=_span, metavar="TIME", help="only jobs that ended in this time, as 15m, 24h, 7d"
    )
    command.add_argument(
        "--problem",
        default="",
        choices=overview.REASONS,
        help="only jobs that need attention for this reason, as in `overview`",
    )
    command.add_argument("--on-hold", action="store_true", help="only jobs that are on hold")
    command.add_argument("--not-kind", action="append", default=[], help="without jobs of this kind; repeatable")
    command.add_argument("--no-system", action="store_true", help="without the system's jobs")


def _add_kind(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind", metavar="KIND", help="'*' for all of them")


def _owner(text: str) -> str:
    if "@" in text:
        raise argparse.ArgumentTypeError(ADDRESS)
    return text


def _is_text(argument: str) -> bool:
    """Return whether an argument is UTF-8: Python keeps other bytes as surrogates, which no message may contain."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text[:200]!r} is not a JSON object")
    _require_sendable(value)
    return value


def _require_sendable(value: dict[str, Any]) -> None:
    """Refuse what JSON can say and protobuf cannot, such as half a character."""
    try:
        protobuf.to_struct(value)
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"the JSON cannot be sent: {str(error)[:200]}") from error


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    try:
        field = {name: json.loads(value)} if name and separator else {}
    except (ValueError, RecursionError):
        field = {}
    if field:
        _require_sendable(field)
        return name, field[name]
    raise argparse.ArgumentTypeError(f'{text!r} is not FIELD=JSON, as count=3 or name="Ada"')


def _count(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"{text[:50]!r} is not a number from 0 to {MAX_NUMBER:,}")
    return int(text)


def _positive(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _span(text: str) -> timedelta:
    if not _SPAN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 15m, 24h or 7d")
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])


def _rate(text: str) -> tuple[int, timedelta | None]:
    if text == "0":
        return 0, None
    if not (match := _RATE.fullmatch(text)) or int(match[1]) > MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate; write 10/minute, 5/30s, or 0 for none")
    return int(match[1]), timedelta(seconds=int(match[2] or 1) * _UNITS[match[3]])
