"""Error pages."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from chassis import logs
from gateway import problems, redirects
from gateway.container import Container
from gateway.pages import rendering

_TITLES: Mapping[int, str] = {
    403: "This is not allowed",
    404: "There is nothing here",
    405: "There is nothing here",
    413: "That was too large",
    429: "Too much at once",
    503: "We will be right back",
    504: "We will be right back",
}
_DETAILS: Mapping[int, str] = {
    404: "The page does not exist, or it has moved. The address may have a typing mistake.",
    405: "This address only takes what a form sends. Open the page with the form instead.",
    503: "A part of Repruv does not answer at the moment. Nothing of yours is lost; please try again shortly.",
    504: "A part of Repruv did not answer in time. What you asked for may still have happened.",
}


async def error_page(request: Request, problem: problems.Problem) -> Response:
    """Show a problem; users who are not signed in are sent to the login page, which leads back."""
    container: Container = request.app.state.container
    if problem.status == 401:
        return _to_login(request, container)
    is_repeatable = request.method in {"GET", "HEAD"}
    context = {
        "status": problem.status,
        "title": _TITLES.get(problem.status, "Something went wrong" if problem.status >= 500 else "That did not work"),
        "detail": _DETAILS.get(problem.status, problem.detail),
        "request_id": logs.request_id.get(),
        "retry_url": redirects.page_of(request) if is_repeatable else "",
    }
    response = rendering.answer("error.html", context, problem.status)
    response.headers.update(problem.headers)
    return response


def _to_login(request: Request, container: Container) -> Response:
    had_session = container.cookie.name in request.cookies
    secure = container.settings.is_https
    response = redirects.see(redirects.to_login(request), say="session_ended" if had_session else "", secure=secure)
    if had_session:
        container.cookie.clear(response)
    return response
