"""Where a page sends people: places of our own only."""

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
# Not pages, or none that anybody wants to come back to.
_ENTRANCE = (
    "/login",
    "/register",
    "/logout",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/reauthenticate",
)
_ELSEWHERE = ("/api", "/static", *_ENTRANCE)


def see(path: str, *, say: str = "", secure: bool) -> RedirectResponse:
    """Send to a page of ours, by GET, which then says the flash of the code `say`."""
    response = RedirectResponse(path, 303)
    if say:
        flash.put(response, say, secure=secure)
    return response


def local(address: str) -> str:
    """Return `wanted` if it is the address of a page of ours, otherwise an empty string."""
    if len(address) > MAX_LENGTH or not _LOCAL.fullmatch(address):
        return ""
    parts = urlsplit(address)
    is_elsewhere = any(parts.path == path or parts.path.startswith(f"{path}/") for path in _ELSEWHERE)
    return "" if parts.netloc or parts.path == "/" or is_elsewhere else address


def page_of(request: Request) -> str:
    """Return the address at which the page of a request can be looked at: forms post to just below their page."""
    path = request.url.path
    if request.method not in {"GET", "HEAD"}:
        return local(path.rpartition("/")[0])
    return local(f"{path}?{request.url.query}" if request.url.query else path)


def to_reauthentication(request: Request) -> str:
    """Return the address of the page that asks who it is, and leads back to the page of `request`."""
    return f"{REAUTHENTICATE}?next={quote(page_of(request), safe='/')}"


def to_login(request: Request) -> str:
    """Return the address of the login page that leads back to where `request` wanted to go."""
    page = page_of(request)
    return f"{LOGIN}?next={quote(page, safe='/')}" if page else LOGIN
