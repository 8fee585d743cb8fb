"""When a cron expression fires in a time zone whose clock changes. Pure.

cronsim finds the matches in local time without a zone. This module maps them to UTC, one period between two changes of the clock
at a time, so changes of any size and at any minute are right. The rules are those of Debian's cron(8):

* With `*` at the beginning of the minute or the hour the expression fires at each moment at which the local clock matches.
* Otherwise it fires once for each local time that matches: at the first of two such moments, or right after a gap that leaves
  the local time out.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import cronsim

_MINUTE = timedelta(minutes=1)
_LARGEST_CHANGE = timedelta(hours=25)
"""The largest change of a clock is a day, at the date line."""
_STEP = timedelta(hours=3)
"""A zone changes its clock at most once within this time."""
_LAST_YEAR = 9990


def firings(cron: str, zone: zoneinfo.ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Return the moments (UTC) after `after` at which a valid expression fires, in order.

    Ends when there is none within 50 years of the one before.
    """
    minute, hour, *_ = cron.split()
    by_clock = minute.startswith("*") or hour.startswith("*")
    return _by_clock(cron, zone, after) if by_clock else _by_local_time(cron, zone, after)


def _by_clock(cron: str, zone: zoneinfo.ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Go through the periods of constant offset; within each, UTC and local time run side by side."""
    start = after.replace(second=0, microsecond=0) + _MINUTE
    while start.year < _LAST_YEAR:
        offset = _offset(start, zone)
        end = _change(start, start + _STEP, zone) or start + _STEP
        match: datetime | None = None
        for match in _matches(cron, _naive(start + offset)):
            moment = match.replace(tzinfo=UTC) - offset
            if moment >= end:
                break
            yield moment
        else:
            return
        # A clock that is put back soon repeats local times that have matched already; otherwise nothing matches before `match`.
        is_steady = _offset(end, zone) == offset == _offset(end + _LARGEST_CHANGE, zone)
        start = max(end, match.replace(tzinfo=UTC) - 2 * _LARGEST_CHANGE) if is_steady else end


def _by_local_time(cron: str, zone: zoneinfo.ZoneInfo, after: datetime) -> Iterator[datetime]:
    latest = after
    for match in _matches(cron, _naive(after.astimezone(zone)) - _LARGEST_CHANGE):
        moment = _first_moment(match, zone)
        if moment > latest:
            latest = moment
            yield moment


def _first_moment(local: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """Return when the local clock first shows `local`; or the end of the gap that leaves it out."""
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    if _naive(moment.astimezone(zone)) == local:
        return moment
    return _change(local.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone) or moment


def _matches(cron: str, start: datetime) -> Iterator[datetime]:
    """Return the local times from `start` on that match."""
    return cronsim.CronSim(cron, start - timedelta(seconds=1))


def _change(start: datetime, end: datetime, zone: zoneinfo.ZoneInfo) -> datetime | None:
    """Return when the offset changes between two moments, to the second; None if it does not."""
    before = _offset(start, zone)
    if _offset(end, zone) == before:
        return None
    while end - start > timedelta(seconds=1):
        middle = start + timedelta(seconds=(end - start) // timedelta(seconds=2))
        if _offset(middle, zone) == before:
            start = middle
        else:
            end = middle
    return end


def _offset(moment: datetime, zone: zoneinfo.ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None, fold=0)
