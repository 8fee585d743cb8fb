"""The base of settings pages with one form, whose fields are those of the user."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway.pages import forms
from gateway.pages.page import Page
from repruv.auth.v1 import auth_pb2


class SettingsForm(Page):
    """Shows the saved values of a form, and saves what is sent."""

    path: ClassVar[str]
    template: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    saved: ClassVar[str]
    """The flash code after the values are saved."""

    def routes(self) -> list[Route]:
        return self.page_routes(self.path, self.show, {"save": self.save})

    @abstractmethod
    def values(self, user: auth_pb2.User) -> Mapping[str, str]:
        """Return the saved values of the form."""

    @abstractmethod
    async def send(self, identity: str, fields: Mapping[str, str]) -> None:
        """Save the values. Raises `InvalidArgument`."""

    def context(self, request: Request, form: Mapping[str, Any]) -> dict[str, Any]:
        """Return what else the template shows."""
        return {}

    async def show(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        visitor = await self.begin(request)
        form = form or forms.filled(self.values(visitor.session.user), {})
        context = {"form": form, **self.context(request, form)}
        return visitor.show(self.template, self.path, context, status=status)

    async def save(self, request: Request) -> Response:
        """Save the form; show it again if a value is invalid."""
        session, fields = await self.read_form(request, *self.fields)
        try:
            await self.send(session.identity, fields)
        except errors.Error as error:
            return await self.show_again(error, fields, partial(self.show, request))
        self._container.sessions.forget_refreshed(session.user_id, {session.session_id})
        return self.redirect(self.path, flash_code=self.saved)
