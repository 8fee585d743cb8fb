"""Times and durations arrive as protobuf's own conversions would send them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

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


def nested(levels: int, *, is_list: bool) -> Any:
    """Return an object, or a list, with that many nested objects and lists."""
    value: Any = [] if is_list else {}
    for _ in range(levels - 1):
        value = [value] if is_list else {"a": value}
    return value


@pytest.mark.parametrize("is_list", [False, True])
def test_depth_of_json_is_bounded_when_it_is_written(is_list: bool) -> None:
    deepest = nested(protobuf.MAX_DEPTH, is_list=is_list)
    assert protobuf.from_value(protobuf.to_value(deepest), protobuf.MAX_DEPTH) == deepest
    with pytest.raises(ValueError, match="nested"):
        protobuf.to_value([deepest])
    with pytest.raises(ValueError, match="nested"):
        protobuf.to_struct({"a": deepest})
    with pytest.raises(ValueError, match="nested"):
        protobuf.from_value(protobuf.to_value(deepest), protobuf.MAX_DEPTH - 1)
