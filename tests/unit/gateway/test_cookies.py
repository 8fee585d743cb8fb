"""Cookies as browsers keep and send them."""

from __future__ import annotations

import time

import pytest
from starlette.requests import HTTPConnection
from starlette.responses import Response

from gateway.identity import cookies
from repruv.auth.v1 import auth_pb2


def request(*headers: bytes) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(b"cookie", header) for header in headers]})


def attributes(cookie: cookies.SessionCookie, auth_session: auth_pb2.Session) -> list[str]:
    response = Response()
    cookie.keep(response, "token", auth_session)
    return response.headers["set-cookie"].lower().split("; ")


def auth_session(*, remembered: bool) -> auth_pb2.Session:
    session = auth_pb2.Session(is_remembered=remembered)
    session.absolute_expire_time.FromSeconds(int(time.time()) + 1_000)
    return session


def test_cookie_is_bound_to_the_host_over_tls() -> None:
    sent = attributes(cookies.SessionCookie(secure=True), auth_session(remembered=True))
    assert sent[0] == "__host-session=token"
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(sent)
    assert not any(attribute.startswith("domain") for attribute in sent)


def test_cookie_is_persistent_only_with_remember_me() -> None:
    remembered = attributes(cookies.SessionCookie(secure=False), auth_session(remembered=True))
    assert any(attribute.startswith("max-age=") and 990 <= int(attribute[8:]) <= 1_000 for attribute in remembered)
    forgotten = attributes(cookies.SessionCookie(secure=False), auth_session(remembered=False))
    assert not any(attribute.startswith(("max-age", "expires")) for attribute in forgotten)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ((b"__Host-session=one",), "one"),
        ((b"a=b; __Host-session=one; c=d",), "one"),
        ((b"__Host-session=one; __Host-session=one",), "one"),
        ((b"__Host-session=one; __Host-session=two",), ""),
        ((b"__Host-session=one", b"__Host-session=two"), ""),
        ((b"session=one",), None),
        ((b"__host-session=one",), None),
        ((b"x__Host-session=one",), None),
        ((b"__Host-session",), ""),
        ((b"__Host-session=\xff\xfe",), "ÿþ"),
        ((), None),
    ],
)
def test_ambiguous_cookie_is_ignored(sent: tuple[bytes, ...], read: str | None) -> None:
    assert cookies.SessionCookie(secure=True).read(request(*sent)) == read


def test_host_prefixed_cookie_is_ignored_without_tls() -> None:
    assert cookies.SessionCookie(secure=False).read(request(b"__Host-session=one")) is None


@pytest.mark.parametrize("value", [b"", b"short", b"x" * 33, b"<script>" * 4, b"a" * 31 + b"\xff"])
def test_visit_cookie_must_be_well_formed(value: bytes) -> None:
    visit = cookies.AnonymousCookie(secure=False)
    assert visit.read(request(b"visit=" + value)) == ""
    own_value = visit.new_value()
    assert visit.read(request(b"visit=" + own_value.encode())) == own_value != visit.new_value()
