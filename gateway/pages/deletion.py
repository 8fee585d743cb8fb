"""Deletion of the user's account, and the page behind the emailed link that cancels it."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects, views
from gateway.identity.client_info import client_info
from gateway.pages import forms
from gateway.pages.page import Page

PATH = views.DELETION_PATH
FIELDS = ("email",)


class Deletion(Page):
    """`/settings/delete-account`."""

    def routes(self) -> list[Route]:
        actions = {"request": self.request, "cancel": self.cancel}
        flash_codes = {"admin_account": "admin_account", "deletion_pending": "deletion_pending"}
        return self.page_routes(PATH, self.show, actions, flash_codes)

    async def show(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        """Show what will be deleted, or the pending deletion."""
        visitor = await self.begin(request)
        return visitor.show("delete_account", PATH, {"form": form or forms.blank()}, status=status)

    async def request(self, request: Request) -> Response:
        """Begin the grace period; all other sessions end."""
        session, fields = await self.read_form(request, *FIELDS)
        try:
            await self._container.auth.request_deletion(
                session.identity, email=fields["email"], client=client_info(request)
            )
        except errors.Error as error:
            return await self.show_again(error, fields, partial(self.show, request))
        self._container.sessions.forget_refreshed(session.user_id, {session.session_id})
        return self.redirect(PATH)

    async def cancel(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "origin")
        await self._container.auth.cancel_deletion(session.identity)
        self._container.sessions.forget_refreshed(session.user_id, {session.session_id})
        return self.redirect(redirects.local(fields["origin"]) or PATH, flash_code="account_kept")
