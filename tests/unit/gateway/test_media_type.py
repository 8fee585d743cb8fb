"""Media types of request bodies."""

from __future__ import annotations

import pytest

from gateway.middleware import media_type


@pytest.mark.parametrize(
    "declared",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/merge-patch+json",
        "application/json; version=1",
    ],
)
def test_json_in_utf8_is_read(declared: str) -> None:
    assert media_type.is_json(declared)


@pytest.mark.parametrize(
    "declared",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "json",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json, text/plain",
    ],
)
def test_another_body_is_not(declared: str) -> None:
    assert not media_type.is_json(declared)
