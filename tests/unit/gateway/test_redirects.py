"""Redirects go only to local pages."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from gateway import redirects


@pytest.mark.parametrize(
    "address", ["/dashboard", "/settings/demo-mode?confirm=disable", "/jobs/0199", "/a%2Fb", "/jobs?status=failed&x=é"]
)
def test_local_targets_are_kept(address: str) -> None:
    assert redirects.local(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "dashboard",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/a\\b",
        "\\\\evil.example",
        "https://evil.example",
        "https:/dashboard",
        "javascript:alert(1)",
        " /dashboard",
        "/dash board",
        "/\tdashboard",
        "/\n/evil.example",
        "/dashboard\r\nSet-Cookie: a=b",
        "/dashboard\x00",
        "/login",
        "/login?next=/login",
        "/register",
        "/logout",
        "/api/v1/jobs",
        "/static/base.css",
        "/" + "a" * 2_000,
    ],
)
def test_other_targets_are_dropped(address: str) -> None:
    assert redirects.local(address) == ""


@pytest.mark.parametrize(
    ("method", "path", "query", "address"),
    [
        ("GET", "/dashboard", b"", "/login?next=/dashboard"),
        ("GET", "/settings/demo-mode", b"confirm=disable", "/login?next=/settings/demo-mode%3Fconfirm%3Ddisable"),
        ("POST", "/settings/demo-mode/enable", b"", "/login?next=/settings/demo-mode"),
        ("GET", "//evil.example", b"", "/login"),
        ("POST", "//evil.example/x", b"", "/login"),
        ("POST", "/anything", b"", "/login"),
    ],
)
def test_login_page_redirects_back(method: str, path: str, query: bytes, address: str) -> None:
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": [], "server": ("h", 80)}
    assert redirects.to_login(Request({**scope, "scheme": "http"})) == address
