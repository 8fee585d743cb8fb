"""Times on pages."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.pages import moments

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TEMPLATES = Path(moments.__file__).parents[1] / "templates"


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=1), "1 h ago"),
        (timedelta(days=1), "1 d ago"),
        (timedelta(days=6, hours=23), "6 d ago"),
        (timedelta(days=9), "14 Nov 2026"),
    ],
)
def test_ago(before: timedelta, text: str) -> None:
    assert moments.ago(NOW - before, NOW) == text


def test_times_may_be_json_strings() -> None:
    assert moments.ago("2026-11-23T11:55:00Z", NOW) == "5 min ago"
    assert moments.date("2026-11-03", "short") == "3 Nov"
    assert moments.date("2026-11-03T09:30:00Z", "minute") == "3 Nov 2026, 09:30 UTC"
    assert moments.date(None) == "–"


def test_recent_is_true_for_a_limited_time() -> None:
    now = datetime.now(UTC)
    assert moments.recent(now - timedelta(minutes=2))
    assert not moments.recent(now - timedelta(minutes=20))
    assert not moments.recent(None)


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "31 Dec 2026, 23:30 UTC"),
        ("Europe/Berlin", "1 Jan 2027, 00:30 CET"),
        ("Asia/Kolkata", "1 Jan 2027, 05:00 IST"),
        ("Asia/Dubai", "1 Jan 2027, 03:30 UTC+04"),
        ("America/New_York", "31 Dec 2026, 18:30 EST"),
    ],
)
def test_times_are_those_of_the_reader_with_utc_in_the_tooltip(zone: str, text: str) -> None:
    with moments.read_in(zoneinfo.ZoneInfo(zone)):
        element = moments.time("2026-12-31T23:30:00.250Z")
    assert element == (f'<time datetime="2026-12-31T23:30:00.250Z" title="31 Dec 2026, 23:30:00.250 UTC">{text}</time>')
    assert moments.date("2026-12-31T23:30:00Z", "minute") == "31 Dec 2026, 23:30 UTC"


def test_styles_of_times() -> None:
    with moments.read_in(zoneinfo.ZoneInfo("Asia/Tokyo")):
        texts = {style: moments.time("2026-01-02T03:04:05.678Z", style) for style in ("day", "clock", "moment", "ago")}
    assert {style: re.sub("<.*?>", "", text) for style, text in texts.items()} == {
        "day": "2 Jan 2026",
        "clock": "12:04:05.678",
        "moment": "2 Jan, 12:04:05.678 JST",
        "ago": "2 Jan 2026",
    }
    assert texts["ago"].startswith("<time ") and " data-ago>" in texts["ago"]
    assert 'class="muted"' in moments.time(NOW, "until", "muted")
    assert moments.time(None) == "–"


def test_a_calendar_day_is_the_same_in_all_zones() -> None:
    with moments.read_in(zoneinfo.ZoneInfo("America/New_York")):
        assert moments.date("2026-11-03") == "3 Nov 2026"
        assert moments.date("2026-11-03T00:00:00Z") == "2 Nov 2026"


def test_every_time_of_a_template_has_its_tooltip() -> None:
    bare = [path.name for path in TEMPLATES.rglob("*.html") if "<time" in path.read_text()]
    assert bare == []
