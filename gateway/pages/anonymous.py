"""Pages without a session. A random cookie binds their forms to the browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from chassis import errors
from gateway import flash, redirects
from gateway.container import Container
from gateway.middleware import form_tokens, headers
from gateway.pages import forms, rendering
from gateway.pages.reader import Reader

MAX_TOKEN = 256


class Anonymous:
    """The base of pages without a session: shows forms and reads them."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._secure = container.settings.is_https

    def show(
        self,
        request: Request,
        template: str,
        form: dict[str, Any] | None = None,
        *,
        status: int = 200,
        more: Mapping[str, Any] | None = None,
    ) -> Response:
        """Render a page with forms. Sets the anonymous cookie if the request has none."""
        form = form or forms.blank()
        cookie = self._container.anonymous_cookie.read(request)
        visit_id = cookie or self._container.anonymous_cookie.new_value()
        message = None if status != 200 else flash.take(request)
        context = {
            "form": form,
            "flash": message,
            "next": form["values"].get("next", ""),
            "form_token": self._container.form_tokens.of_visit(visit_id),
            **(more or {}),
        }
        response = rendering.answer(Reader.of_browser(request), template, context, status)
        if not cookie:
            self._container.anonymous_cookie.set(response, visit_id, None)
        if message is not None:
            flash.clear(response, secure=self._secure)
        return response

    async def read(self, request: Request, *names: str) -> dict[str, str]:
        """Return the named fields of a form and its token, which `require` checks."""
        fields = await forms.read(request, *names, form_tokens.FIELD)
        if "next" in fields:
            fields["next"] = redirects.local(fields["next"])
        return fields

    def require(self, request: Request, fields: Mapping[str, str]) -> None:
        """Raise `PermissionDenied` `form_expired` unless this gateway rendered the form for this browser."""
        visit_id = self._container.anonymous_cookie.read(request)
        expected = self._container.form_tokens.of_visit(visit_id) if visit_id else ""
        # Without the cookie no token is valid, an empty one included.
        self._container.form_tokens.require(expected or "-", fields[form_tokens.FIELD])

    def show_again(
        self,
        request: Request,
        template: str,
        fields: Mapping[str, str],
        error: errors.Error,
        more: Mapping[str, Any] | None = None,
    ) -> Response:
        """Show a form with its mistakes. Raises `error` again if it is not about the form."""
        status, form = forms.refused_form(error, fields)
        response = self.show(request, template, form, status=status, more=more)
        response.headers.update(forms.retry_headers(error, status))
        return response

    def show_link(self, request: Request, template: str) -> Response:
        """Show the page of an emailed link, whose address contains the token."""
        token = request.query_params.get("token", "")
        return _private(self.show(request, template, more={"token": token if len(token) <= MAX_TOKEN else ""}))

    def show_link_again(
        self, request: Request, template: str, fields: Mapping[str, str], error: errors.Error
    ) -> Response:
        """Show the page of an emailed link with its mistakes."""
        return _private(self.show_again(request, template, fields, error, {"token": fields["token"]}))

    def redirect(self, path: str, *, flash_code: str = "") -> Response:
        return redirects.redirect(path, flash_code=flash_code, secure=self._secure)


def _private(response: Response) -> Response:
    response.headers.update(headers.NO_REFERRER)
    return response
