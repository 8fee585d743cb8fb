"""IANA time zones by name."""

from __future__ import annotations

import pytest

from chassis import time_zones


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_zones_are_found_by_name(name: str) -> None:
    zone = time_zones.find(name)
    assert zone is not None
    assert zone.key == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "Berlin",
            "Europe",
            "Europe/",
            "Europe/Nowhere",
            "../etc/passwd",
            "/etc/localtime",
            "localtime",
            "Factory",
        ),
        *("posix/UTC", "right/UTC", "Europe/Berlin\0", "Europe/Berlin\n", "x" * 5_000, "\u202eUTC", "zone.tab"),
    ],
)
def test_other_names_have_no_zone(name: str) -> None:
    assert time_zones.find(name) is None
