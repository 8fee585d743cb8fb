"""The API tokens of the user: creating, and revoking them."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import views
from gateway.identity.client_info import client_info
from gateway.pages import forms
from gateway.pages.page import Page

PATH = views.TOKENS_PATH
FIELDS = ("name", "scopes", "lifetime_days")
LIFETIMES = (7, 30, 90, 365)
"""Days that the page offers; the API takes any number between."""
_DEFAULTS = {"scopes": "read", "lifetime_days": "90"}


class Tokens(Page):
    """`/settings/tokens`."""

    def routes(self) -> list[Route]:
        actions = {"create": self.create, "revoke": self.revoke}
        flash_codes = {"api_token_not_found": "token_unknown", "invalid_argument": "token_unknown"}
        return self.page_routes(PATH, self.show, actions, flash_codes)

    async def show(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        """Show the API tokens, and the form for another one."""
        visitor = await self.begin(request)
        listed = await self._container.api_tokens.list_tokens(visitor.identity)
        context = {
            "api_tokens": [views.api_token(api_token) for api_token in listed.api_tokens],
            "fresh_until": views.optional_time(listed, "fresh_until_time"),
            "lifetimes": LIFETIMES,
            "form": form or forms.filled(_DEFAULTS, {}),
        }
        return visitor.show("tokens", PATH, context, status=status)

    async def create(self, request: Request) -> Response:
        """Create an API token. It is shown only once, so this response is the page itself, not a redirect."""
        session, fields = await self.read_form(request, *FIELDS)
        days = fields["lifetime_days"]
        try:
            created = await self._container.api_tokens.create(
                session.identity,
                name=fields["name"],
                scopes=[proto for scope, proto in views.API_TOKEN_SCOPES.items() if fields["scopes"] == scope],
                lifetime_days=int(days) if days in map(str, LIFETIMES) else -1,
                client=client_info(request),
            )
        except errors.FailedPrecondition as error:
            return await self.show(request, forms.filled(fields, {forms.WHOLE: error.message}), status=409)
        except errors.Error as error:
            return await self.show_again(error, fields, partial(self.show, request))
        visitor = await self.begin(request)
        context = {"api_token": views.api_token(created.api_token), "token": created.token}
        return visitor.show("token", PATH, context)

    async def revoke(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "token_id")
        token_id = str(ids.parse(fields["token_id"], "token_id"))
        await self._container.api_tokens.revoke(session.identity, token_id=token_id)
        self._container.sessions.forget_revoked(session.user_id, {token_id})
        return self.redirect(PATH, flash_code="token_revoked")
