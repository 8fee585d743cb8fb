"""The security settings of an account: password, address, second factor, passkeys, recent events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import views
from gateway.identity.client_info import client_info
from gateway.pages import forms, qr
from gateway.pages.page import Page

PATH = views.SECURITY_PATH
EMAIL_FIELDS = ("email",)
PASSWORD_FIELDS = ("current_password", "new_password")
_CHANGED = {"second_factor_enabled": "factor_changed", "second_factor_not_enabled": "factor_changed"}


class Security(Page):
    """`/settings/security`."""

    def routes(self) -> list[Route]:
        actions = {
            "password": self.change_password,
            "verification": self.request_verification,
            "change-email": self.change_email,
            "cancel-email-change": self.cancel_email_change,
            "totp": self.begin_totp,
            "confirm-totp": self.confirm_totp,
            "disable-totp": self.disable_totp,
            "recovery-codes": self.regenerate_codes,
            "rename-passkey": self.rename_passkey,
            "remove-passkey": self.remove_passkey,
        }
        flash_codes = {
            **_CHANGED,
            "second_factor_not_begun": "factor_changed",
            "passkey_not_found": "passkey_unknown",
            "too_many_attempts": "too_much",
        }
        return self.page_routes(PATH, self.show, actions, flash_codes)

    async def show(
        self, request: Request, form: dict[str, Any] | None = None, *, about: str = "", status: int = 200
    ) -> Response:
        """Show the settings; `about` names the form that was refused."""
        visitor = await self.begin(request)
        security, passkeys = await asyncio.gather(
            self._container.auth.get_security(visitor.identity),
            self._container.passkeys.list_passkeys(visitor.identity),
        )
        context = {
            "security": views.security(security),
            "passkeys": views.passkeys(passkeys),
            "can_access_dashboard": security.user.can_access_dashboard,
            "form": form or forms.blank(),
            "about": about,
        }
        return visitor.show("security", PATH, context, status=status)

    async def change_password(self, request: Request) -> Response:
        """Replace the password; all other sessions end."""
        session, fields = await self.read_form(request, *PASSWORD_FIELDS)
        try:
            changed = await self._container.auth.change_password(
                session.identity,
                current_password=fields["current_password"],
                new_password=fields["new_password"],
                client=client_info(request),
            )
        except errors.Error as error:
            return await self._show_again(request, error, fields, "password")
        response = self.redirect(PATH, flash_code="password_changed")
        self._container.rotate_token(response, changed, by_cookie=True)
        self._container.sessions.forget_revoked(session.user_id, None)
        return response

    async def request_verification(self, request: Request) -> Response:
        session, _ = await self.read_form(request)
        try:
            await self._container.auth.request_email_verification(session.identity)
        except errors.Error as error:
            return await self._show_again(request, error, {}, "verification")
        return self.redirect(PATH, flash_code="mail_sent")

    async def change_email(self, request: Request) -> Response:
        """Send a link to the new address."""
        session, fields = await self.read_form(request, *EMAIL_FIELDS)
        try:
            await self._container.auth.request_email_change(
                session.identity, email=fields["email"], client=client_info(request)
            )
        except errors.Error as error:
            return await self._show_again(request, error, fields, "email")
        return self.redirect(PATH, flash_code="email_change_sent")

    async def cancel_email_change(self, request: Request) -> Response:
        session, _ = await self.read_form(request)
        await self._container.auth.cancel_email_change(session.identity)
        return self.redirect(PATH, flash_code="email_change_cancelled")

    async def begin_totp(self, request: Request) -> Response:
        """Show what the authenticator app needs. It is shown only once, so this response is the page itself, not a redirect."""
        session, _ = await self.read_form(request)
        enrolment = await self._container.auth.begin_totp(session.identity)
        return await self._show_enrolment(request, enrolment.uri, {})

    async def confirm_totp(self, request: Request) -> Response:
        """Turn the second factor on, and show the recovery codes, once."""
        session, fields = await self.read_form(request, "code", "uri")
        try:
            confirmed = await self._container.auth.confirm_totp(session.identity, code=fields["code"])
        except errors.Error as error:
            status, mistakes = forms.mistakes_of(error, ("code",))
            # The form sends back the secret that was shown only once; without it the enrolment cannot continue.
            if qr.secret_of(fields["uri"]) is None:
                raise
            return await self._show_enrolment(request, fields["uri"], mistakes, status=status)
        response = await self._show_codes(request, list(confirmed.recovery_codes), is_new=True)
        self._container.rotate_token(response, confirmed, by_cookie=True)
        return response

    async def disable_totp(self, request: Request) -> Response:
        """Turn the second factor off."""
        session, fields = await self.read_form(request, "code")
        try:
            disabled = await self._container.auth.disable_totp(session.identity, code=fields["code"])
        except errors.Error as error:
            return await self._show_again(request, error, fields, "totp")
        response = self.redirect(PATH, flash_code="factor_disabled")
        self._container.rotate_token(response, disabled, by_cookie=True)
        return response

    async def regenerate_codes(self, request: Request) -> Response:
        """Replace the recovery codes, and show them, once."""
        session, _ = await self.read_form(request)
        codes = (await self._container.auth.regenerate_recovery_codes(session.identity)).recovery_codes
        return await self._show_codes(request, list(codes), is_new=False)

    async def rename_passkey(self, request: Request) -> Response:
        """Rename a passkey. Adding one needs JavaScript: only the browser reaches its authenticators."""
        session, fields = await self.read_form(request, "passkey_id", "name")
        try:
            await self._container.passkeys.rename(session.identity, passkey_id=_passkey_id(fields), name=fields["name"])
        except errors.InvalidArgument as error:
            return await self._show_again(request, error, {}, "passkeys")
        return self.redirect(PATH, flash_code="passkey_renamed")

    async def remove_passkey(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "passkey_id")
        await self._container.passkeys.remove(session.identity, passkey_id=_passkey_id(fields))
        return self.redirect(PATH, flash_code="passkey_removed")

    async def _show_again(
        self,
        request: Request,
        error: errors.Error,
        fields: Mapping[str, str],
        about: str,
    ) -> Response:
        """Show the page with the mistakes of the form named `about`. Raises `error` again if it is not about the form."""
        return await self.show_again(error, fields, partial(self.show, request, about=about))

    async def _show_enrolment(
        self, request: Request, uri: str, mistakes: dict[str, str], *, status: int = 200
    ) -> Response:
        visitor = await self.begin(request)
        context = {
            "uri": uri,
            "secret": qr.secret_of(uri),
            "image": qr.svg(uri),
            "form": forms.filled({}, mistakes),
        }
        return visitor.show("totp", PATH, context, status=status)

    async def _show_codes(self, request: Request, codes: list[str], *, is_new: bool) -> Response:
        visitor = await self.begin(request)
        return visitor.show("recovery_codes", PATH, {"codes": codes, "is_new": is_new})


def _passkey_id(fields: dict[str, str]) -> str:
    return str(ids.parse(fields["passkey_id"], "passkey_id"))
