"""The times of schedules: cron expressions, time zones, missed times. Pure: the clock is a parameter."""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import cronsim

from chassis import errors, ids
from chassis import time_zones as zones_by_name
from services.jobs import domain
from services.jobs.schedules import time_zones

MAX_CATCH_UP = 100
"""`CatchUp.ALL` fires at most this many missed times, the latest ones."""
YEAR = timedelta(days=365)
MISSED_AFTER = timedelta(minutes=1)
"""A time counts as missed when it is longer ago than this."""
MAX_CRON_LENGTH = 200
OPERATOR = "operator."
"""The names of schedules that operators create begin with this: no worker can register such a name."""

_FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, in a month that has it",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT",
}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_FIRST_WINDOW = timedelta(hours=2)


class CatchUp(StrEnum):
    """Which missed times a schedule fires: times at which no replica ran."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


class Overlap(StrEnum):
    """What a schedule does while its previous job has not ended."""

    SKIP = "skip"
    ALLOW = "allow"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A schedule as its worker registers it; see ScheduleRegistration in the protos."""

    name: str
    kind: str
    payload: dict[str, Any]
    cron: str
    time_zone: str = "UTC"
    catch_up: CatchUp = CatchUp.LAST
    overlap: Overlap = Overlap.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    registration: Registration
    paused_at: datetime | None = None
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_job_id: UUID | None = None

    @property
    def is_of_operator(self) -> bool:
        return self.registration.name.startswith(OPERATOR)

    @property
    def concurrency_key(self) -> str | None:
        """The key that keeps its jobs, triggered ones included, from running concurrently."""
        return None if self.registration.overlap is Overlap.ALLOW else f"schedule:{self.registration.name}"


class CronExpression:
    """The times of a cron expression in a time zone.

    `time_zones` says what happens when the clock changes.
    """

    def __init__(self, cron: str, time_zone: str) -> None:
        """Parse the expression. Raises `InvalidArgument` naming `cron` or `time_zone`."""
        self._cron = cron
        self._zone = _zone(time_zone)
        if len(cron) > MAX_CRON_LENGTH:
            raise _bad_cron(f"cron must be at most {MAX_CRON_LENGTH} characters.")
        if (count := len(cron.split())) != len(_FIELDS):
            raise _bad_cron(f"cron must have five fields, {', '.join(_FIELDS)}; it has {count}.")
        try:
            cronsim.CronSim(cron, _EPOCH)
        except cronsim.CronSimError as error:
            name = str(error).removeprefix("Bad ")
            value = dict(zip(_FIELDS, cron.split(), strict=True)).get(name, cron)
            message = f"cron has a {name} of {value!r}; it must be {_FIELDS.get(name, 'as in crontab(5)')}."
            raise _bad_cron(message) from None
        self.next(_EPOCH)

    def next(self, after: datetime) -> datetime:
        """Return the first time after a moment. Raises `InvalidArgument` without one in 50 years."""
        if (time := next(self._after(after), None)) is None:
            raise _bad_cron(f"cron must match a time; {self._cron!r} matches none.")
        return time

    def last(self, since: datetime, until: datetime, *, limit: int) -> list[datetime]:
        """Return the last `limit` times from `since` up to `until`, both included, in order.

        Costs about one step per returned time, whatever the distance of `since`.
        """
        window = _FIRST_WINDOW
        while True:
            start = max(since, until - window)
            times = list(itertools.takewhile(lambda time: time <= until, self._after(start - _TICK)))
            if len(times) >= limit or start == since:
                return times[-limit:]
            window *= 2

    def _after(self, moment: datetime) -> Iterator[datetime]:
        return time_zones.firings(self._cron, self._zone, moment)


def require(registration: Registration) -> None:
    """Validate a schedule. Raises `InvalidArgument` naming the field."""
    domain.require_kind(registration.name, "name")
    domain.require_kind(registration.kind, "kind")
    CronExpression(registration.cron, registration.time_zone)


def due(schedule: Schedule, now: datetime) -> list[datetime]:
    """Return the times that a schedule must fire now, in order; none if it is not due or skips its missed times."""
    if schedule.next_at is None or schedule.next_at > now:
        return []
    registration = schedule.registration
    limit = MAX_CATCH_UP if registration.catch_up is CatchUp.ALL else 1
    times = CronExpression(registration.cron, registration.time_zone).last(schedule.next_at, now, limit=limit)
    return [time for time in times if registration.catch_up is not CatchUp.NONE or now - time <= MISSED_AFTER]


def next_times(registration: Registration, now: datetime, count: int) -> list[datetime]:
    times: list[datetime] = []
    while len(times) < count:
        times.append(next_time(registration, times[-1] if times else now))
    return times


def latest_times(registration: Registration, now: datetime, count: int) -> list[datetime]:
    """Return the latest times of a schedule within a year, the newest first."""
    times = CronExpression(registration.cron, registration.time_zone).last(now - YEAR, now, limit=count)
    return times[::-1]


def next_time(registration: Registration, now: datetime) -> datetime:
    """Return the first time of a schedule after now."""
    return CronExpression(registration.cron, registration.time_zone).next(now)


def job_id(name: str, time: datetime) -> UUID:
    """Return the job id of a schedule and a time. It is deterministic: no time fires twice."""
    return ids.uuid7_of(time, f"{name} {time.astimezone(UTC).isoformat()}")


def _zone(name: str) -> zoneinfo.ZoneInfo:
    if (zone := zones_by_name.find(name)) is not None:
        return zone
    message = f"time_zone must be an IANA time zone such as Europe/Berlin; {name[:100]!r} is unknown."
    raise errors.InvalidArgument(message, field="time_zone")


def _bad_cron(message: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, field="cron")
