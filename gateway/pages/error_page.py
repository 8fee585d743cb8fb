"""Error pages."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from chassis import logs
from gateway import problems, redirects
from gateway.container import Container
from gateway.pages import rendering
from gateway.pages.reader import Reader

_TITLES: Mapping[int, str] = {
    403: "You don't have access to this",
    404: "Page not found",
    405: "Page not found",
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


_SLOW_PAGE = "This page took too long to load. Try again in a minute."


async def error_page(request: Request, problem: problems.Problem) -> Response:
    """Show a problem; users who are not signed in are sent to the login page, which leads back."""
    container: Container = request.app.state.container
    if problem.status == 401:
        return _to_login(request, container)
    is_repeatable = request.method in {"GET", "HEAD"}
    context = {
        "status": problem.status,
        "title": _TITLES.get(problem.status, "Something went wrong" if problem.status >= 500 else "This didn't work"),
        "detail": _SLOW_PAGE
        if problem.status == 504 and is_repeatable
        else _DETAILS.get(problem.status, problem.detail),
        "request_id": logs.request_id.get(),
        "retry_url": redirects.page_of(request) if is_repeatable else "",
    }
    response = rendering.answer(Reader.of_browser(request), "error.html", context, problem.status)
    response.headers.update(problem.headers)
    return response


def _to_login(request: Request, container: Container) -> Response:
    had_session = container.cookie.name in request.cookies
    secure = container.settings.is_https
    response = redirects.see(redirects.to_login(request), say="session_ended" if had_session else "", secure=secure)
    if had_session:
        container.cookie.clear(response)
    return response
