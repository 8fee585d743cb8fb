"""Cron expressions, time zones, and catching up on missed times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import errors, ids
from services.jobs.schedules import cron
from services.jobs.schedules.cron import CatchUp, CronExpression

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def registration_of(**values: Any) -> cron.Registration:
    return cron.Registration(
        **{"name": "test.nightly", "kind": "test.run", "payload": {}, "cron": "* * * * *", **values}
    )


def moments(cron: str, zone: str, after: str, count: int) -> list[str]:
    """Return the next times as ISO 8601 in UTC."""
    moment = datetime.fromisoformat(after)
    times = []
    for _ in range(count):
        moment = CronExpression(cron, zone).next(moment)
        times.append(f"{moment:%Y-%m-%dT%H:%M}")
    return times


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/5 * * * *", "2026-06-01T12:00:00+00:00", ["2026-06-01T12:05", "2026-06-01T12:10"]),
        ("0 9 * * MON", "2026-06-01T12:00:00+00:00", ["2026-06-08T09:00", "2026-06-15T09:00"]),
        ("0 0 29 2 *", "2026-06-01T12:00:00+00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 1,15 * *", "2026-06-01T12:00:00+00:00", ["2026-06-15T00:00", "2026-07-01T00:00"]),
    ],
)
def test_cron_expressions_are_parsed(cron: str, after: str, expected: list[str]) -> None:
    assert moments(cron, "UTC", after, 2) == expected


def test_fixed_time_in_a_clock_gap_fires_right_after_the_gap() -> None:
    # On 2026-03-29 Berlin goes from 02:00 to 03:00, which is 01:00 UTC.
    expected = ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]
    assert moments("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00+00:00", 3) == expected


def test_repeated_fixed_time_fires_once() -> None:
    # On 2026-10-25 Berlin goes from 03:00 back to 02:00, which is 01:00 UTC: 02:30 is 00:30 UTC, and 01:30 UTC again.
    expected = ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]
    assert moments("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00+00:00", 3) == expected
    # From within the second hour it is tomorrow's.
    assert moments("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00+00:00", 1) == ["2026-10-26T01:30"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_interval_stays_even_over_a_clock_change(day: str) -> None:
    times = moments("*/30 * * * *", "Europe/Berlin", f"{day}T00:00:00+00:00", 4)
    assert times == [f"{day}T00:30", f"{day}T01:00", f"{day}T01:30", f"{day}T02:00"]


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("* * * *", "it has 4"),
        ("0 * * * * *", "it has 6"),
        ("", "it has 0"),
        ("@daily", "it has 1"),
        ("61 * * * *", "minute of '61'; it must be 0 to 59"),
        ("0 24 * * *", "hour of '24'"),
        ("0 0 32 * *", "day-of-month of '32'"),
        ("0 0 31 2 *", "day-of-month of '31'"),
        ("0 0 * 13 *", "month of '13'"),
        ("0 0 * * 8", "day-of-week of '8'"),
        ("x * * * *", "minute of 'x'"),
        ("*/0 * * * *", "minute of '*/0'"),
        ("5-1 * * * *", "minute of '5-1'"),
        (f"{'1,' * 200}1 * * * *", "at most 200 characters"),
    ],
)
def test_invalid_cron_is_refused_with_the_reason(expression: str, named: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        cron.require(registration_of(cron=expression))
    assert excinfo.value.field == "cron"
    assert named in excinfo.value.message


@given(st.text(alphabet="0123456789*,-/L#WMON? ", max_size=30))
def test_any_cron_text_is_parsed_or_refused(cron: str) -> None:
    try:
        read = CronExpression(cron, "UTC")
    except errors.InvalidArgument:
        return
    assert read.next(NOON) > NOON


@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Olympus", "Europe", "../etc/passwd", "a\0b", "x" * 300, "/etc/localtime", "localtime", "right/UTC"],
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        cron.require(registration_of(time_zone=zone))
    assert excinfo.value.field == "time_zone"


@pytest.mark.parametrize("field", ["name", "kind"])
@pytest.mark.parametrize("value", ["", "Nightly", "a b", "a" * 101])
def test_a_bad_name_is_refused(field: str, value: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        cron.require(registration_of(**{field: value}))
    assert excinfo.value.field == field


@pytest.mark.parametrize(
    ("catch_up", "missed", "expected"),
    [
        (CatchUp.LAST, timedelta(), [0]),
        (CatchUp.LAST, timedelta(minutes=5), [0]),
        (CatchUp.LAST, timedelta(days=10 * 365), [0]),
        (CatchUp.NONE, timedelta(), [0]),
        (CatchUp.NONE, timedelta(minutes=5), [0]),
        (CatchUp.ALL, timedelta(), [0]),
        (CatchUp.ALL, timedelta(minutes=3), [3, 2, 1, 0]),
        (CatchUp.ALL, timedelta(days=10 * 365), list(range(99, -1, -1))),
    ],
)
def test_missed_times_are_caught_up_by_policy(catch_up: CatchUp, missed: timedelta, expected: list[int]) -> None:
    schedule = cron.Schedule(registration=registration_of(catch_up=catch_up), next_at=NOON - missed)
    times = cron.due(schedule, NOON + timedelta(seconds=20))
    assert [(NOON - time) // timedelta(minutes=1) for time in times] == expected


def test_policy_none_leaves_out_times_missed_by_more_than_a_minute() -> None:
    schedule = cron.Schedule(registration=registration_of(cron="0 * * * *", catch_up=CatchUp.NONE), next_at=NOON)
    assert cron.due(schedule, NOON + timedelta(seconds=60)) == [NOON]
    assert cron.due(schedule, NOON + timedelta(seconds=61)) == []


def test_rare_time_of_long_ago_is_found() -> None:
    registration = registration_of(cron="0 0 29 2 *")
    schedule = cron.Schedule(registration=registration, next_at=datetime(2008, 2, 29, tzinfo=UTC))
    assert cron.due(schedule, NOON) == [datetime(2024, 2, 29, tzinfo=UTC)]


def test_nothing_is_due_before_its_time_or_while_paused() -> None:
    assert cron.due(cron.Schedule(registration=registration_of(), next_at=NOON), NOON - timedelta(seconds=1)) == []
    assert cron.due(cron.Schedule(registration=registration_of(), paused_at=NOON), NOON) == []


def test_id_of_a_firing_is_deterministic_and_has_its_time() -> None:
    job_id = cron.job_id("test.nightly", NOON)
    assert job_id == cron.job_id("test.nightly", NOON)
    # Written down: another release must not make another one of it.
    assert job_id == UUID("019e830e-1a00-73cd-a42b-b83cdefc020e")
    assert (job_id.version, job_id.variant) == (7, "specified in RFC 4122")
    assert ids.timestamp_of(job_id) == NOON
    others = {cron.job_id("test.other", NOON), cron.job_id("test.nightly", NOON + timedelta(minutes=1))}
    assert job_id not in others
