"""Cron expressions in every time zone, compared with an oracle that walks the minutes of UTC and reads the local clock."""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.jobs.schedules.time_zones import firings

MINUTE = timedelta(minutes=1)
WALK = timedelta(hours=60)
ZONES = sorted(
    name for name in zoneinfo.available_timezones() if not name.startswith(("right/", "posix/")) and "/" in name
)
KNOWN_FOR_TROUBLE = (
    "Pacific/Chatham",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Havana",
    "America/Santiago",
    "Atlantic/Azores",
    "America/Scoresbysund",
    "Asia/Gaza",
    "Asia/Amman",
    "America/Sao_Paulo",
    "America/Caracas",
    "Asia/Pyongyang",
    "Pacific/Apia",
    "Europe/Berlin",
    "Africa/Casablanca",
)


@dataclass(frozen=True)
class Field:
    """A field of an expression and the values that it matches."""

    text: str
    values: frozenset[int]


@dataclass(frozen=True)
class Expression:
    """An expression of five fields. The day of the month is always `*`."""

    minute: Field
    hour: Field
    weekday: Field

    @property
    def text(self) -> str:
        return f"{self.minute.text} {self.hour.text} * * {self.weekday.text}"

    @property
    def by_clock(self) -> bool:
        return self.minute.text.startswith("*") or self.hour.text.startswith("*")

    def matches(self, local: datetime) -> bool:
        day = local.isoweekday() % 7
        return local.minute in self.minute.values and local.hour in self.hour.values and day in self.weekday.values


def field(limit: int) -> st.SearchStrategy[Field]:
    """Return `*`, steps, ranges and lists of values below `limit`."""
    value = st.integers(0, limit - 1)
    any_value = st.just(Field("*", frozenset(range(limit))))
    steps = st.integers(2, limit - 1).map(lambda step: Field(f"*/{step}", frozenset(range(0, limit, step))))
    spans = st.tuples(value, value).map(
        lambda ends: Field(f"{min(ends)}-{max(ends)}", frozenset(range(min(ends), max(ends) + 1)))
    )
    lists = st.sets(value, min_size=1, max_size=4).map(
        lambda values: Field(",".join(map(str, sorted(values))), frozenset(values))
    )
    return st.one_of(any_value, steps, spans, lists)


expressions = st.builds(Expression, field(60), field(24), st.one_of(st.just(Field("*", frozenset(range(7)))), field(7)))


def changes(zone: zoneinfo.ZoneInfo, year: int) -> list[datetime]:
    """Return days (UTC) within which the zone changes its clock."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(365)]
    return [
        first
        for first, second in itertools.pairwise(days)
        if first.astimezone(zone).utcoffset() != second.astimezone(zone).utcoffset()
    ]


def walk(expression: Expression, zone: zoneinfo.ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Return the matching minutes within `WALK`."""
    moment = after - timedelta(hours=26)
    times: set[datetime] = set()
    previous = moment.astimezone(zone).replace(tzinfo=None)
    while moment <= after + WALK:
        local = moment.astimezone(zone).replace(tzinfo=None)
        if expression.by_clock:
            fires = expression.matches(local)
        else:
            left_out = (previous + MINUTE * step for step in range(1, max((local - previous) // MINUTE, 1)))
            fires = (expression.matches(local) and local not in times) or any(map(expression.matches, left_out))
            times.add(local)
        previous = local
        if fires and moment > after:
            yield moment
        moment += MINUTE


def check(expression: Expression, zone_name: str, after: datetime) -> None:
    zone = zoneinfo.ZoneInfo(zone_name)
    computed = itertools.takewhile(lambda moment: moment <= after + WALK, firings(expression.text, zone, after))
    assert list(computed) == list(walk(expression, zone, after)), (expression.text, zone_name, after)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(expressions, st.sampled_from(ZONES), st.integers(2000, 2037), st.data())
def test_every_zone_agrees_with_the_oracle(expression: Expression, name: str, year: int, data: st.DataObject) -> None:
    days = changes(zoneinfo.ZoneInfo(name), year) or [datetime(year, 6, 1, tzinfo=UTC)]
    start = data.draw(st.sampled_from(days)) - timedelta(hours=12)
    check(expression, name, start + timedelta(minutes=data.draw(st.integers(0, 36 * 60))))


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN_FOR_TROUBLE)
@settings(max_examples=10, deadline=None)
@given(expressions, st.integers(2005, 2030), st.data())
def test_unusual_changes_agree_with_the_oracle(
    name: str, expression: Expression, year: int, data: st.DataObject
) -> None:
    days = changes(zoneinfo.ZoneInfo(name), year) or [datetime(year, 6, 1, tzinfo=UTC)]
    check(expression, name, data.draw(st.sampled_from(days)) - timedelta(hours=6))


def test_change_at_a_quarter_to_four_does_not_hang() -> None:
    zone = zoneinfo.ZoneInfo("Pacific/Chatham")
    times = firings("*/15 3 * * *", zone, datetime(2027, 4, 3, 13, 45, tzinfo=UTC))
    assert next(times) == datetime(2027, 4, 3, 14, 15, tzinfo=UTC)


def test_day_whose_first_hour_is_left_out_still_fires() -> None:
    # Cairo goes from 00:00 to 01:00 on Friday, 2026-04-24.
    times = firings("*/15 1 * * fri", zoneinfo.ZoneInfo("Africa/Cairo"), datetime(2026, 4, 23, 12, tzinfo=UTC))
    assert list(itertools.islice(times, 4)) == [
        datetime(2026, 4, 23, 22, minute, tzinfo=UTC) for minute in (0, 15, 30, 45)
    ]


def test_repeated_hour_fires_again_though_the_next_day_does_not_match() -> None:
    # Cairo goes from Friday 00:00 back to Thursday 23:00 on 2005-09-29, 21:00 UTC.
    times = firings("*/30 * * * thu", zoneinfo.ZoneInfo("Africa/Cairo"), datetime(2005, 9, 29, 20, 15, tzinfo=UTC))
    expected = [datetime(2005, 9, 29, hour, minute, tzinfo=UTC) for hour, minute in ((20, 30), (21, 0), (21, 30))]
    assert list(itertools.islice(times, 3)) == expected


def test_expression_without_a_match_ends() -> None:
    times = firings("0 0 31 2 *", zoneinfo.ZoneInfo("Europe/Berlin"), datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(Exception, match="day-of-month"):
        next(times)
