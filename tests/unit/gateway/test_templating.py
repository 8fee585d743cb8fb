from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jinja2
import pytest

from gateway.pages import templating

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (1_000, "1K"),
        (1_234, "1.2K"),
        (999_949, "999.9K"),
        (999_950, "1M"),
        (3_412_000, "3.4M"),
        (999_999_999, "1B"),
        (5_060_000_000, "5.1B"),
        (-1_500, "-1.5K"),
    ],
)
def test_compact(value: int | None, shown: str) -> None:
    assert templating.compact(value) == shown


def test_number_has_thousands_and_as_many_digits_as_asked() -> None:
    assert [templating.number(4213), templating.number(4.27, 1), templating.number(None)] == ["4,213", "4.3", "–"]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "–"), (0, "0%"), (0.001, "<1%"), (0.684, "68%"), (0.999, "99%"), (1, "100%")],
)
def test_percent(share: float | None, shown: str) -> None:
    assert templating.percent(share) == shown


@pytest.mark.parametrize(
    ("before", "shown"),
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
def test_ago(before: timedelta, shown: str) -> None:
    assert templating.ago(NOW - before, NOW) == shown


def test_times_may_be_json_strings() -> None:
    assert templating.ago("2026-11-23T11:55:00Z", NOW) == "5 min ago"
    assert templating.date("2026-11-03", "short") == "3 Nov"
    assert templating.date("2026-11-03T09:30:00Z", "minute") == "3 Nov 2026, 09:30 UTC"
    assert templating.date(None) == "–"


def test_recent_is_true_for_a_limited_time() -> None:
    now = datetime.now(UTC)
    assert templating.recent(now - timedelta(minutes=2))
    assert not templating.recent(now - timedelta(minutes=20))
    assert not templating.recent(None)


@pytest.mark.parametrize(
    ("word", "shown"), [("tech_reviews", "Tech reviews"), ("youtube", "YouTube"), ("auto", "Pick for me")]
)
def test_label(word: str, shown: str) -> None:
    assert templating.label(word) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Ana Duarte", "AD"), ("Ana Maria Duarte", "AD"), ("kev", "K"), ("@x", "X"), ("", "?"), ("—", "?")],
)
def test_initials(name: str, shown: str) -> None:
    assert templating.initials(name) == shown


def test_the_same_name_always_has_the_same_tone() -> None:
    assert templating.tone("Ana") == templating.tone("Ana")
    assert {templating.tone(f"name {position}") for position in range(200)} == {1, 2, 3, 4, 5, 6}


def test_assets_have_the_release_and_must_exist() -> None:
    assert templating.asset("base.css") == f"/static/{templating.release()}/base.css"
    with pytest.raises(FileNotFoundError):
        templating.asset("nothing.css")


def test_pages_escape_user_input_and_refuse_missing_names() -> None:
    env = templating.environment()
    assert env.from_string("{{ text }}").render(text="<script>") == "&lt;script&gt;"
    with pytest.raises(jinja2.UndefinedError):
        env.from_string("{{ missing }}").render()


TEMPLATES = Path(templating.__file__).parents[1] / "templates"
NAME = re.compile(
    r"(?P<before><bdi>)?\{\{ (?:user|account|one|passkey|item\.author|connection\.account)\.(?:name|handle)(?P<after>[^}]*)\}\}"
)


def test_names_that_people_choose_do_not_change_the_direction_of_the_text_beside_them() -> None:
    """A name in Arabic, or with a bidi control from a platform, would otherwise reorder its neighbours."""
    isolated, bare = 0, []
    for path in sorted(TEMPLATES.rglob("*.html")):
        for line in path.read_text().splitlines():
            for match in NAME.finditer(re.sub(r'(value|class)="[^"]*"|<code>.*?</code>', "", line)):
                isolated += match["before"] is not None
                if match["before"] is None and "initials" not in match["after"]:
                    bare.append(f"{path.name}: {match[0]}")
    assert bare == []
    assert isolated >= 8


def test_texts_of_strangers_have_their_own_direction() -> None:
    for path in sorted(TEMPLATES.rglob("*.html")):
        for line in path.read_text().splitlines():
            assert "{{ item.text }}" not in line or 'dir="auto"' in line, path.name
