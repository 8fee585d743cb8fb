"""Icons and names of the clients of sessions."""

from __future__ import annotations

from typing import cast

import pytest

from gateway import views
from gateway.pages import devices

ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36"
)


@pytest.mark.parametrize(
    ("user_agent", "icon"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "device"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15", "device"),
        (ANDROID, "phone"),
        (ANDROID.replace(" Mobile", ""), "tablet"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "phone"),
        ("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "tablet"),
        ("Mozilla/5.0 (Android 14; Tablet; rv:130.0) Gecko/130.0 Firefox/130.0", "tablet"),
        ("curl/8.5.0", "terminal"),
        ("python-httpx/0.27", "terminal"),
        ("", "device"),
    ],
)
def test_icon_follows_the_user_agent(user_agent: str, icon: str) -> None:
    assert devices.device(user_agent) == icon


@pytest.mark.parametrize(
    ("client_name", "user_agent", "name"),
    [
        ("Firefox on Linux", "Mozilla/5.0 (X11)", "Firefox on Linux"),
        ("", "my-importer/2.1 (nightly)", "my-importer"),
        ("", "<script>alert(1)</script>", "Unknown device"),
        ("", "x" * 400, "x" * 40),
        ("", "", "Unknown device"),
    ],
)
def test_client_without_a_name_is_named_by_its_product(client_name: str, user_agent: str, name: str) -> None:
    session = cast("views.Session", {"client_name": client_name, "user_agent": user_agent})
    assert devices.client(session) == name
