from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import jinja2
import pytest

from gateway.pages import templating

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
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
def test_compact(value: int | None, text: str) -> None:
    assert templating.compact(value) == text


def test_number_has_thousands_and_as_many_digits_as_asked() -> None:
    assert [templating.number(4213), templating.number(4.27, 1), templating.number(None)] == ["4,213", "4.3", "–"]


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0%"), (0.001, "<1%"), (0.684, "68%"), (0.999, "99%"), (1, "100%")],
)
def test_percent(share: float | None, text: str) -> None:
    assert templating.percent(share) == text


@pytest.mark.parametrize(
    ("word", "text"), [("tech_reviews", "Tech reviews"), ("youtube", "YouTube"), ("auto", "Pick for me")]
)
def test_label(word: str, text: str) -> None:
    assert templating.label(word) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("Ana Duarte", "AD"), ("Ana Maria Duarte", "AD"), ("kev", "K"), ("@x", "X"), ("", "?"), ("—", "?")],
)
def test_initials(name: str, text: str) -> None:
    assert templating.initials(name) == text


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
            for match in NAME.finditer(re.sub(r'(value|class|id|href)="[^"]*"|<code>.*?</code>', "", line)):
                isolated += match["before"] is not None
                if match["before"] is None and "initials" not in match["after"]:
                    bare.append(f"{path.name}: {match[0]}")
    assert bare == []
    assert isolated >= 8


def test_texts_of_strangers_have_their_own_direction() -> None:
    for path in sorted(TEMPLATES.rglob("*.html")):
        for line in path.read_text().splitlines():
            assert "{{ item.text }}" not in line or 'dir="auto"' in line, path.name
