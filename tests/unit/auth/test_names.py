"""Display names."""

from __future__ import annotations

import pytest

from chassis import errors
from services.auth import validation


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        " Ada ",
        "",
        "José",
        "李",
        "عُمَر",
        "می\u200cخواهم",
        "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}",
        "🎸",
        "7",
        "X Æ A-12",
    ],
)
def test_visible_names_are_accepted(name: str) -> None:
    assert validation.clean_name(name) == name.strip()


@pytest.mark.parametrize(
    "name",
    [
        "Ada\u202egnp.exe",
        "\u2066Ada",
        "Ada\u200f",
        "Ada\u061c",
        "A\u00adda",
        "\ufeffAda",
        "\u200b",
        "\u200d",
        "\u3164",
        "\u2800\u2800",
        "\u115f",
        "\ufe0f",
        "\u034f",
        "A\U000e0041",
    ],
)
def test_names_with_invisible_characters_are_refused(name: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        validation.clean_name(name)
    assert excinfo.value.field == "name"
