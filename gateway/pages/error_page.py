"""Error pages."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from chassis import errors, logs
from gateway import problems, redirects
from gateway.container import Container
from gateway.identity import authentication
from gateway.pages import page_request, rendering
from gateway.pages.reader import Reader
from repruv.auth.v1 import auth_pb2

_TITLES: Mapping[int, str] = {
    403: "You don't have access to this",
    404: "Page not found",
    405: "Page not found",
    408: "This did not arrive",
    413: "This is too large",
    429: "Too many requests",
    503: "Temporarily unavailable",
    504: "Temporarily unavailable",
}
_DETAILS: Mapping[int, str] = {
    404: "This page doesn't exist or has moved. Check the address.",
    405: "This address only accepts a submitted form. Open the page that contains the form.",
    503: "A part of Repruv isn't responding. Your data is safe. Try again in a minute.",
    504: "This took too long. The change may still have been made; check before you try again.",
}


_REFUSED = frozenset({408, 413, 429})
"""Problems of requests that are refused before their route is known."""
_OUTAGES = frozenset({503, 504})
"""Problems whose detail names the part that does not respond, for operators."""
_SLOW_PAGE = "This page took too long to load. Try again in a minute."


async def error_page(request: Request, problem: problems.Problem) -> Response:
    """Show a problem; users who are not signed in are sent to the login page, which leads back, and guests to registration."""
    container: Container = request.app.state.container
    if problem.status == 401:
        return _to_login(request, container)
    if problem.code == page_request.ACCOUNT_REQUIRED:
        return redirects.redirect("/register", flash_code="account_required", secure=container.settings.is_https)
    is_repeatable = request.method in {"GET", "HEAD"}
    context: dict[str, object] = {
        "status": problem.status,
        "title": _TITLES.get(problem.status, "Something went wrong" if problem.status >= 500 else "This didn't work"),
        "detail": _SLOW_PAGE
        if problem.status == 504 and is_repeatable
        else _DETAILS.get(problem.status, problem.detail),
        "request_id": logs.request_id.get(),
        "retry_url": redirects.page_of(request) if is_repeatable else "",
    }
    visitor = await _visitor(request, container, problem)
    if visitor is not None:
        is_operator = visitor.session.user.role == auth_pb2.USER_ROLE_ADMIN
        context["cause"] = problem.detail if is_operator and problem.status in _OUTAGES else ""
        response = visitor.show("error_inside", request.url.path, context, status=problem.status)
    else:
        response = rendering.answer(Reader.of_browser(request), "error.html", context, problem.status)
    response.headers.update(problem.headers)
    return response


async def _visitor(request: Request, container: Container, problem: problems.Problem) -> page_request.Visitor | None:
    """Return the signed-in user whose error page keeps the navigation; None without one.

    A refused request and an outage cost no call: their pages keep the navigation only if the session is already known.
    """
    is_outage = problem.status >= 500 or problem.status in _REFUSED
    if is_outage and authentication.current(request.scope) is None:
        return None
    try:
        return await page_request.begin(request, container, is_outage=is_outage)
    except errors.Error:
        return None


def _to_login(request: Request, container: Container) -> Response:
    had_session = container.cookie.name in request.cookies
    secure = container.settings.is_https
    response = redirects.redirect(
        redirects.to_login(request), flash_code="session_ended" if had_session else "", secure=secure
    )
    if had_session:
        container.cookie.clear(response)
    return response
