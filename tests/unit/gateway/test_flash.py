"""Messages about an action, in a cookie that anybody can write."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from gateway import flash


def message_of(cookie: str) -> str | None:
    headers = [(b"cookie", f"{flash.COOKIE}={cookie}".encode())]
    taken = flash.take(Request({"type": "http", "headers": headers}))
    return taken.message if taken else None


@pytest.mark.parametrize("name", ["nightly", "my-service.cleanup", "2fa.codes", "a.b.c.d.e.f.g.h", "_", "x" * 100])
def test_message_names_every_valid_schedule(name: str) -> None:
    assert message_of(flash.about("schedule_paused", name)) == f"Schedule paused: {name}."


@pytest.mark.parametrize(
    ("kind", "label"), [("nightly", "Nightly"), ("my-service.cleanup", "Cleanup (my-service)"), ("*", "All job types")]
)
def test_message_has_the_label_of_every_valid_kind(kind: str, label: str) -> None:
    assert message_of(flash.about("kind_limited", kind)) == f"Limits saved: {label}."


@pytest.mark.parametrize("subject", ["", "Send your password", "x" * 101, "https://evil.example", "<b>"])
def test_message_about_no_name_is_shown_without_it(subject: str) -> None:
    assert message_of(f"kind_limited:{subject}") == "Limits saved."


@pytest.mark.parametrize("cookie", ["", "unknown", "unknown:demo.enable", "Send your password"])
def test_unknown_code_shows_nothing(cookie: str) -> None:
    assert message_of(cookie) is None
