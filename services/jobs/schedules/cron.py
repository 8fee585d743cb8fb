"""When schedules fire: cron expressions, time zones, what was missed. Pure: the clock is given."""

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
from services.jobs import domain
from services.jobs.schedules import time_zones

CATCH_UP_MOST = 100
"""So many of the missed times are caught up with `CatchUp.ALL`, the latest of them."""
LATE = timedelta(minutes=1)
"""What is later than this was missed."""
CRON_LENGTH = 200

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
    """What a schedule does about the times that passed while nobody could fire it."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


class Overlap(StrEnum):
    """What a schedule does when its previous job has not ended."""

    SKIP = "skip"
    ALLOW = "allow"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a worker says of a schedule; see ScheduleDeclaration in the protos."""

    name: str
    kind: str
    payload: dict[str, Any]
    cron: str
    time_zone: str = "UTC"
    catch_up: CatchUp = CatchUp.LAST
    overlap: Overlap = Overlap.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it stands."""

    declaration: Declaration
    paused_at: datetime | None = None
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_job_id: UUID | None = None

    @property
    def concurrency_key(self) -> str | None:
        """What keeps its jobs from running beside each other, those that were triggered by hand included."""
        return None if self.declaration.overlap is Overlap.ALLOW else f"schedule:{self.declaration.name}"


class CronExpression:
    """The times of a cron expression in a time zone.

    `time_zones` says what happens when the clock changes.
    """

    def __init__(self, cron: str, time_zone: str) -> None:
        """Raises `InvalidArgument` naming `cron` or `time_zone`."""
        self._cron = cron
        self._zone = _zone(time_zone)
        if len(cron) > CRON_LENGTH:
            raise _bad_cron(f"cron must be at most {CRON_LENGTH} characters.")
        if (given := len(cron.split())) != len(_FIELDS):
            raise _bad_cron(f"cron must have five fields, {', '.join(_FIELDS)}; it has {given}.")
        try:
            cronsim.CronSim(cron, _EPOCH)
        except cronsim.CronSimError as error:
            name = str(error).removeprefix("Bad ")
            value = dict(zip(_FIELDS, cron.split(), strict=True)).get(name, cron)
            message = f"cron has a {name} of {value!r}; it must be {_FIELDS.get(name, 'as in crontab(5)')}."
            raise _bad_cron(message) from None
        self.next(_EPOCH)

    def next(self, after: datetime) -> datetime:
        """Give the first time after a moment. Raises `InvalidArgument` if there is none within 50 years."""
        if (time := next(self._after(after), None)) is None:
            raise _bad_cron(f"cron must come some time; {self._cron!r} does not.")
        return time

    def last(self, since: datetime, until: datetime, *, most: int) -> list[datetime]:
        """Give the last `most` times from `since` up to `until`, both included, in order.

        Costs about as many steps as it gives times, however long ago `since` was.
        """
        window = _FIRST_WINDOW
        while True:
            start = max(since, until - window)
            found = list(itertools.takewhile(lambda time: time <= until, self._after(start - _TICK)))
            if len(found) >= most or start == since:
                return found[-most:]
            window *= 2

    def _after(self, moment: datetime) -> Iterator[datetime]:
        return time_zones.firings(self._cron, self._zone, moment)


def require(declared: Declaration) -> None:
    """Refuse what cannot be a schedule. Raises `InvalidArgument` naming the field."""
    domain.require_kind(declared.name, "name")
    domain.require_kind(declared.kind, "kind")
    CronExpression(declared.cron, declared.time_zone)


def due(schedule: Schedule, now: datetime) -> list[datetime]:
    """Give the times that a schedule has to make good for now, in order; none if it is not due or what it missed is past."""
    if schedule.next_at is None or schedule.next_at > now:
        return []
    declared = schedule.declaration
    most = CATCH_UP_MOST if declared.catch_up is CatchUp.ALL else 1
    times = CronExpression(declared.cron, declared.time_zone).last(schedule.next_at, now, most=most)
    return [time for time in times if declared.catch_up is not CatchUp.NONE or now - time <= LATE]


def next_time(declared: Declaration, now: datetime) -> datetime:
    """Give the first time of a schedule after now."""
    return CronExpression(declared.cron, declared.time_zone).next(now)


def job_id(name: str, time: datetime) -> UUID:
    """Give the id of the job that a schedule makes at a time: always the same, so that no time is fired twice."""
    return ids.uuid7_of(time, f"{name} {time.astimezone(UTC).isoformat()}")


def _zone(name: str) -> zoneinfo.ZoneInfo:
    # `right/` counts leap seconds, and the others are not the same zone on every machine.
    is_portable = not name.startswith(("right/", "posix/")) and name not in {"localtime", "posixrules", "Factory"}
    try:
        if is_portable:
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    message = f"time_zone must be an IANA time zone such as Europe/Berlin; {name[:100]!r} is unknown."
    raise errors.InvalidArgument(message, field="time_zone")


def _bad_cron(message: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, field="cron")
