"""The page that asks for the password again before a sensitive action."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects, views
from gateway.identity.client_info import client_info
from gateway.pages import forms, page_request
from gateway.pages.page import Page

logger = logging.getLogger(__name__)

FIELDS = ("password", "code", "next")


class Reauthentication(Page):
    """`/reauthenticate`."""

    def routes(self) -> list[Route]:
        return [
            Route(redirects.REAUTHENTICATE, self.show),
            Route(redirects.REAUTHENTICATE, page_request.form_handler(self.prove, self.show), methods=["POST"]),
        ]

    async def show(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        form = form or forms.filled({"next": request.query_params.get("next", "")}, {})
        visitor = await self.begin(request)
        context: dict[str, Any] = {
            "next": redirects.local(form["values"]["next"]),
            "form": form,
            "has_passkey": await self._has_passkey(visitor.identity),
        }
        return visitor.show("reauthenticate", redirects.REAUTHENTICATE, context, status=status)

    async def prove(self, request: Request) -> Response:
        """Check the proof, replace the session token and return to the sensitive page."""
        session, fields = await self.read_form(request, *FIELDS)
        try:
            reauthenticated = await self._container.auth.reauthenticate(
                session.identity, password=fields["password"], code=fields["code"], client=client_info(request)
            )
        except errors.Error as error:
            return await self.show_again(error, fields, partial(self.show, request))
        next_path = redirects.local(fields["next"]) or views.SECURITY_PATH
        response = self.redirect(next_path, flash_code="proved")
        self._container.rotate_token(response, reauthenticated, by_cookie=True)
        return response

    async def _has_passkey(self, identity: str) -> bool:
        try:
            response = await self._container.passkeys.list_passkeys.quick(identity)
        except (errors.Unavailable, errors.DeadlineExceeded) as error:
            # The password remains.
            logger.warning("passkeys are not available", extra={"cause": error.code})
            return False
        return response.is_available and bool(response.passkeys)
