"""The address of the gateway in one spelling."""

from __future__ import annotations

import pytest

from chassis import public_url


@pytest.mark.parametrize(
    ("typed", "normalized"),
    [
        ("https://app.example.org", "https://app.example.org"),
        ("https://app.example.org/", "https://app.example.org"),
        ("https://app.example.org//", "https://app.example.org"),
        ("https://app.example.org:443", "https://app.example.org"),
        ("http://app.example.org:80/", "http://app.example.org"),
        ("https://app.example.org:80", "https://app.example.org:80"),
        ("HTTPS://App.Example.ORG", "https://app.example.org"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        (" http://127.0.0.1:8080 ", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_address_has_one_spelling(typed: str, normalized: str) -> None:
    assert public_url.normalize(typed) == normalized
    assert public_url.normalize(normalized) == normalized


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "app.example.org",
        "//app.example.org",
        "ftp://app.example.org",
        "https://",
        "https:///path",
        "https://app.example.org/app",
        "https://app.example.org?x=1",
        "https://app.example.org/#top",
        "https://user:secret@app.example.org",
        "https://app.example.org:port",
        "https://app.example.org:99999",
        "https://ex☃ample.org",
    ],
)
def test_what_is_no_origin_is_refused(typed: str) -> None:
    with pytest.raises(ValueError):
        public_url.normalize(typed)
