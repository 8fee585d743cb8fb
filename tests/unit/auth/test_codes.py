"""Generation and comparison of codes; names of user agents."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from services.auth import validation
from services.auth.second_factor import codes
from services.auth.sessions import user_agents

# RFC 6238, appendix B, SHA-1, the last six digits.
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_codes_match_the_rfc(seconds: int, code: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    assert codes.matching_step(SECRET, code, now=now) == seconds // 30


@pytest.mark.parametrize(("off", "matches"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_one_step_of_clock_skew_is_accepted(off: int, matches: bool) -> None:
    now = datetime.fromtimestamp(1111111109 + off, UTC)
    assert (codes.matching_step(SECRET, "081804", now=now) is not None) is matches


@pytest.mark.parametrize("code", ["", "08180", "0818044", "٠٨١٨٠٤", "081804\n", "x81804"])
def test_an_invalid_code_matches_no_step(code: str) -> None:
    assert codes.matching_step(SECRET, code, now=datetime.fromtimestamp(1111111109, UTC)) is None


def test_recovery_codes_differ_and_match_in_any_spelling() -> None:
    recovery_codes = codes.new_recovery_codes()
    assert len(set(recovery_codes)) == codes.RECOVERY_CODES
    assert all(re.fullmatch(r"[a-z2-7]{5}-[a-z2-7]{5}", code) for code in recovery_codes)
    typed = f" {recovery_codes[0].upper()} "
    assert codes.is_recovery(validation.clean_code(typed))
    assert codes.recovery_hash(SECRET, validation.clean_code(typed)) == codes.recovery_hash(SECRET, recovery_codes[0])
    assert codes.recovery_hash("ANOTHER", recovery_codes[0]) != codes.recovery_hash(SECRET, recovery_codes[0])


@pytest.mark.parametrize(
    "separator",
    [
        *(
            "\t",
            "\n",
            "\r\n",
            "\N{NO-BREAK SPACE}",
            "\u2009",
            "\u3000",
            "\u200b",
            "\ufeff",
            "\u00ad",
            "\u202c",
            "\u2028",
        ),
        *("\u2010", "\u2011", "\N{EN DASH}", "\N{EM DASH}", "\N{MINUS SIGN}", "\ufe63", "\uff0d"),
    ],
)
def test_spaces_dashes_and_invisible_characters_do_not_count(separator: str) -> None:
    assert validation.clean_code(f"{separator}abcde{separator}FGH23{separator}") == "abcdefgh23"
    assert validation.clean_code(f"081{separator}804") == "081804"


def test_full_width_digits_count_as_digits() -> None:
    assert validation.clean_code("\uff10\uff18\uff11 \uff18\uff10\uff14") == "081804"
    assert validation.clean_code("٠٨١٨٠٤") == ""


@pytest.mark.parametrize("typed", ["x" * 41, "é", "\x00" * 1000])
def test_an_impossible_code_is_cleaned_to_nothing(typed: str) -> None:
    cleaned = validation.clean_code(typed)
    assert not codes.is_recovery(cleaned)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("", ""),
        ("nothing known", ""),
        ("curl/8.5.0", "curl"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        ("\x00" * 400, ""),
        ("(" * 100_000, ""),
    ],
)
def test_user_agents_have_readable_names(user_agent: str, name: str) -> None:
    assert user_agents.name(user_agent) == name
