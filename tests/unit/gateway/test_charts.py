from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages import charts


def days(*counts: int) -> list[dict[str, object]]:
    return [{"date": f"2026-11-{position:02}", "count": count} for position, count in enumerate(counts, 1)]


def test_bars_start_at_the_base_and_have_proportional_heights() -> None:
    chart = charts.bar_chart(days(0, 10, 5), width=300, height=100)
    assert chart.ceiling == 10
    assert [bar.height for bar in chart.bars] == [0, 100, 50]
    assert all(bar.y + bar.height == 100 for bar in chart.bars)
    assert chart.total == 15


def test_the_first_of_equal_days_is_the_peak() -> None:
    chart = charts.bar_chart(days(3, 7, 7))
    assert [bar.peak for bar in chart.bars] == [False, True, False]
    assert chart.peak is chart.bars[1]


def test_the_period_before_is_on_the_same_scale() -> None:
    chart = charts.bar_chart(days(1, 2), days(4, 8), width=100, height=80)
    assert (chart.ceiling, chart.total, chart.total_before) == (8, 3, 12)
    assert [bar.before for bar in chart.bars] == [4, 8]
    assert chart.before == "M0 40H50L50 0H100"


def test_weeks_end_with_the_newest_day_and_the_oldest_may_be_shorter() -> None:
    moods = [{**day, "sentiment": {"positive": day["count"]}} for day in days(*range(1, 10))]
    short, whole = charts.weeks(moods)
    assert (short["date"], short["until"], short["span"], short["count"]) == ("2026-11-01", "2026-11-02", 2, 3)
    assert (whole["date"], whole["until"], whole["span"], whole["count"]) == ("2026-11-03", "2026-11-09", 7, 42)
    assert whole["sentiment"] == {"positive": 42}
    assert [bar.until for bar in charts.bar_chart([short, whole]).bars] == ["2026-11-02", "2026-11-09"]
    assert charts.weeks([]) == []


def test_a_period_before_of_another_length_is_left_out() -> None:
    chart = charts.bar_chart(days(1, 2), days(4))
    assert (chart.before, chart.total_before, chart.bars[0].before) == ("", 0, None)


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (120, 100, "20% more than"),
        (90, 100, "10% fewer than"),
        (100, 100, "as many as"),
        (0, 5, "100% fewer than"),
        (5, 0, ""),
        (5_000, 1, "499,900% more than"),
    ],
)
def test_a_change_is_told_in_words(now: int, before: int, words: str) -> None:
    assert charts.change(now, before) == words


@pytest.mark.parametrize(
    ("count", "dates"), [(0, []), (2, ["01", "02"]), (7, ["01", "02", "03", "04", "05", "06", "07"])]
)
def test_every_day_of_a_week_has_a_tick(count: int, dates: list[str]) -> None:
    assert charts.ticks(days(*range(count))) == [f"2026-11-{date}" for date in dates]


def test_longer_periods_have_six_ticks() -> None:
    assert charts.ticks(days(*range(30))) == [f"2026-11-{date:02}" for date in (1, 6, 11, 16, 21, 26)]


@pytest.mark.parametrize("counts", [(), (0, 0)])
def test_a_chart_without_interactions_has_no_peak(counts: tuple[int, ...]) -> None:
    chart = charts.bar_chart(days(*counts))
    assert chart.peak is None
    assert chart.total == 0


@given(st.lists(st.integers(0, 10**7), max_size=40))
def test_bars_stay_in_their_box_and_do_not_overlap(counts: list[int]) -> None:
    chart = charts.bar_chart([{"date": "2026-11-01", "count": count} for count in counts])
    for bar in chart.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= chart.width
        assert 0 <= bar.y <= chart.height
    for left, right in zip(chart.bars, chart.bars[1:], strict=False):
        assert left.x + left.width <= right.x


@given(st.integers(0, 10**9))
def test_the_scale_is_even_and_neither_too_low_nor_far_too_high(value: int) -> None:
    ceiling = charts.nice_ceiling(value)
    assert ceiling >= value
    assert ceiling % 2 == 0
    assert ceiling <= max(4, 2 * value)


def test_segments_lie_side_by_side_and_fill_the_whole() -> None:
    parts = charts.segments({"positive": 3, "negative": 1}, ["positive", "neutral", "negative"])
    assert [(part.x, part.width, part.share) for part in parts] == [(0, 75, 0.75), (75, 0, 0), (75, 25, 0.25)]


def test_segments_without_values_are_empty_and_keys_may_be_numbers() -> None:
    assert [part.width for part in charts.segments({}, ["1", "2"])] == [0, 0]
    assert charts.segments({5: 2}, ["5"])[0].count == 2


def test_stacked_day_fills_the_chart_and_is_empty_without_parts() -> None:
    names = ("positive", "neutral", "negative")
    counts = [dict(zip(names, counts_of_day, strict=True)) for counts_of_day in ((2, 1, 1), (0, 0, 0))]
    days = [{"date": f"2026-11-0{day}", "sentiment": counts_of_day} for day, counts_of_day in enumerate(counts, 1)]
    full, empty = charts.share_columns(days, names, width=200, height=100)
    assert full.parts == (("positive", 50, 50), ("neutral", 25, 25), ("negative", 0, 25))
    assert (full.counts, empty.parts, empty.x - full.x) == (counts[0], (), 100)
