"""Times and durations arrive as protobuf's own conversions would send them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chassis import protobuf

MICROSECOND = timedelta(microseconds=1)
TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.mark.parametrize("moment", TIMES)
def test_time_is_exact(moment: datetime) -> None:
    expected = Timestamp()
    expected.FromDatetime(moment)
    assert protobuf.to_timestamp(moment) == expected
    assert protobuf.from_timestamp(expected, "moment") == moment


@pytest.mark.parametrize("seconds", [0, 1, 1.5, 86_400, 10**9])
@pytest.mark.parametrize("change", [-MICROSECOND, timedelta(), MICROSECOND])
@pytest.mark.parametrize("sign", [-1, 1])
def test_duration_is_exact(seconds: float, change: timedelta, sign: int) -> None:
    duration = sign * timedelta(seconds=seconds) + change
    expected = Duration()
    expected.FromTimedelta(duration)
    assert protobuf.to_duration(duration) == expected
    assert protobuf.from_duration(expected, "duration") == duration
