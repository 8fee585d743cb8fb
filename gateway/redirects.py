"""Redirects, to pages of this gateway only."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse

from gateway import flash

LOGIN = "/login"
REAUTHENTICATE = "/reauthenticate"
MAX_LENGTH = 1_000
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
SIGN_IN_PAGES = (
    "/login",
    "/register",
    "/logout",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/confirm-email",
    "/revoke-email",
    "/keep-account",
    "/reauthenticate",
)
"""Pages on the way into an account; a sign-in does not return to them."""
_ELSEWHERE = ("/api", "/static", *SIGN_IN_PAGES)


def redirect(path: str, *, flash_code: str = "", secure: bool) -> RedirectResponse:
    """Redirect by GET to a page, which shows the flash message of the code `flash_code`."""
    response = RedirectResponse(path, 303)
    if flash_code:
        flash.put(response, flash_code, secure=secure)
    return response


def local(address: str) -> str:
    """Return `address` if it is the address of a page of this gateway, otherwise an empty string."""
    if len(address) > MAX_LENGTH or not _LOCAL.fullmatch(address):
        return ""
    parts = urlsplit(address)
    is_elsewhere = any(parts.path == path or parts.path.startswith(f"{path}/") for path in _ELSEWHERE)
    return "" if parts.netloc or parts.path == "/" or is_elsewhere else address


def page_of(request: Request) -> str:
    """Return the address of the page of a request; forms post to addresses directly below their page."""
    path = request.url.path
    if request.method not in {"GET", "HEAD"}:
        return local(path.rpartition("/")[0])
    return local(f"{path}?{request.url.query}" if request.url.query else path)


def to_reauthentication(request: Request) -> str:
    """Return the address of the reauthentication page that returns to the page of `request`."""
    return f"{REAUTHENTICATE}?next={quote(page_of(request), safe='/')}"


def to_login(request: Request) -> str:
    """Return the address of the login page that returns to the page of `request`."""
    page = page_of(request)
    return f"{LOGIN}?next={quote(page, safe='/')}" if page else LOGIN
