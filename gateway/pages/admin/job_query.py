"""The filters of the list of all jobs, as its address contains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from starlette.requests import Request

from gateway import inputs, labels, views
from gateway.pages import lists
from repruv.jobs.v1 import admin_service_pb2

PATH = "/admin/jobs"
STATES: Mapping[str, tuple[str, tuple[views.JobStatus, ...]]] = {
    "": ("Any state", ()),
    "active": ("Unfinished", labels.ACTIVE),
    "waiting": ("Waiting", ("pending", "retrying")),
    "scheduled": ("Scheduled", ("scheduled",)),
    "running": ("Running", ("running", "cancelling")),
    "retrying": ("Retrying", ("retrying",)),
    "on_hold": ("On hold", ("scheduled",)),
    "finished": ("Finished", ("completed", "failed", "cancelled")),
    "completed": ("Completed", ("completed",)),
    "failed": ("Failed", ("failed",)),
    "cancelled": ("Cancelled", ("cancelled",)),
}
"""Groups of states: label and states."""
SINCE: Mapping[str, tuple[str, timedelta | None]] = {
    "": ("Any time", None),
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
}
ORDERS: Mapping[str, admin_service_pb2.JobOrder.ValueType] = {
    "": admin_service_pb2.JOB_ORDER_NEWEST,
    "oldest": admin_service_pb2.JOB_ORDER_OLDEST,
    "wait": admin_service_pb2.JOB_ORDER_LONGEST_WAIT,
    "run": admin_service_pb2.JOB_ORDER_LONGEST_RUN,
}
SIZES = (50, 20, 100)
"""Rows of a page; the first is the default."""
TIMES = {
    "after": "create_time_from",
    "before": "create_time_until",
    "ended_after": "finish_time_from",
    "ended_before": "finish_time_until",
}
"""The times of a query, and their fields in the filter of the jobs service."""
_UNFINISHED = ("active", "waiting", "scheduled", "running", "retrying")
_MAX_TEXT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """The filters in the address of the list; empty ones have their default."""

    state: str = ""
    kind: str = ""
    owner: str = ""
    """An address or a user id."""
    worker: str = ""
    code: str = ""
    fingerprint: str = ""
    since: str = ""
    after: str = ""
    """Submitted from this time on; this and the following times are ISO 8601 in UTC."""
    before: str = ""
    ended_after: str = ""
    ended_before: str = ""
    problem: str = ""
    text: str = ""
    system: str = ""
    """`yes` shows the system's jobs too."""
    order: str = ""
    size: str = ""

    @property
    def is_filtered(self) -> bool:
        """Whether it selects less than the default."""
        return bool(self.filters)

    @property
    def is_detailed(self) -> bool:
        """Whether a filter is set that the page shows on demand only."""
        return any(getattr(self, name) for name in ("worker", "code", "fingerprint", "problem", *TIMES))

    @property
    def filters(self) -> dict[str, str]:
        """The filters that are set, by name."""
        names = ("state", "kind", "owner", "worker", "code", "fingerprint", "problem", "since", *TIMES, "text")
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def rows(self) -> int:
        return int(self.size or SIZES[0])

    @property
    def fields(self) -> dict[str, str]:
        """All that differs from the default, by name; for addresses and forms."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}

    @property
    def changes(self) -> list[str]:
        """What can be done with all jobs that it selects: changes that would find a job in most lists of these filters."""
        if self.state in ("failed", "cancelled") or self.problem == "failing":
            return [] if self.kind.startswith(views.LEGACY) else ["retry"]
        is_on_hold = self.state == "on_hold" or self.problem == "on_hold"
        if not is_on_hold and not self.problem and self.state not in _UNFINISHED:
            return []
        cancel = [] if self.kind in views.UNSTOPPABLE else ["cancel"]
        if is_on_hold:
            return ["release", *cancel]
        is_running = self.state == "running" or self.problem in ("overrun", "cancelling")
        return cancel if is_running else [*cancel, "hold"]

    def address(self, *, path: str = PATH, **changed: str) -> str:
        """Return the address of the first page of the list with changes."""
        return lists.address(path, replace(self, **changed).fields)

    def page_address(self, page_token: str) -> str:
        """Return the address of a page of the list; the first without a token."""
        return lists.address(PATH, self.fields, page_token)

    def fixed(self, now: datetime) -> JobQuery:
        """Return the query with a period up to now as a time, so that it selects the same jobs later."""
        period = SINCE[self.since][1]
        if period is None:
            return self
        return replace(self, since="", after=self.after or utc(now - period))

    def message(self, owner_id: str) -> admin_service_pb2.JobFilter:
        """Return the filter for the jobs service; `owner_id` is the id of the owner."""
        message = admin_service_pb2.JobFilter(
            states=[views.JOB_STATE_NUMBERS[name] for name in STATES[self.state][1]],
            kinds=[self.kind] if self.kind else [],
            owner_id=owner_id,
            worker=self.worker,
            error_code=self.code,
            fingerprint=self.fingerprint,
            text=self.text,
            without_system=not (self.system or self.owner),
            problem=self.problem,
            on_hold=self.state == "on_hold",
        )
        fixed = self.fixed(datetime.now(UTC))
        for name, field in TIMES.items():
            if time := moment(getattr(fixed, name)):
                getattr(message, field).FromDatetime(time)
        return message


def read(values: Mapping[str, str], zone: tzinfo = UTC) -> JobQuery:
    """Return the query of an address or a form, whose times without an offset are in `zone`; invalid choices are ignored."""
    texts = {field.name: inputs.plain(values.get(field.name, ""))[:_MAX_TEXT] for field in fields(JobQuery)}
    choices: Mapping[str, Any] = {
        "state": STATES,
        "since": SINCE,
        "order": ORDERS,
        "size": {str(size) for size in SIZES[1:]},
        "system": {"yes"},
        "problem": labels.PROBLEMS,
    }
    for name, allowed in choices.items():
        if texts[name] not in allowed:
            texts[name] = ""
    for name in TIMES:
        time = moment(texts[name], zone)
        texts[name] = utc(time) if time else ""
    return JobQuery(**texts)


def page_token(request: Request) -> str:
    """Return the token of the page that a request names."""
    return inputs.plain(request.query_params.get("page_token", ""))


def moment(text: str, zone: tzinfo = UTC) -> datetime | None:
    """Return the time of a `datetime-local` field, which is in `zone`; None if it is empty or invalid."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=zone)
    return time.astimezone(UTC) if 1970 < time.year < 9998 else None


def utc(time: datetime) -> str:
    """Return a time as the address has it: ISO 8601 in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
