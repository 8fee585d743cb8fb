"""The front page, sign-in, registration and sign-out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import clients, flash, redirects, views
from gateway.container import Container
from gateway.identity import cookies, sessions
from gateway.middleware import headers
from gateway.pages import anonymous, page_request, rendering
from gateway.pages.reader import Reader
from repruv.auth.v1 import auth_pb2

logger = logging.getLogger(__name__)

LOGIN_FIELDS = ("email", "password", "remember", "next")
REGISTER_FIELDS = ("name", "email", "password", "remember", "next")
TRY_PATH = "/try"
GUEST_INTERACTIONS = 20_000
"""Interactions of a guest's demo: enough to see the job run."""
CODE_PATH = f"{redirects.LOGIN}/code"


class Login(anonymous.Anonymous):
    """`/`, `/try`, `/login`, `/login/code`, `/register` and `/logout`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self._challenge = cookies.challenge(secure=container.settings.is_https)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.front),
            Route(TRY_PATH, self.try_demo, methods=["POST"]),
            Route(TRY_PATH, self.front),
            Route(redirects.LOGIN, self.show_login),
            Route(redirects.LOGIN, self.login, methods=["POST"]),
            Route(CODE_PATH, self.show_code),
            Route(CODE_PATH, self.finish, methods=["POST"]),
            Route("/register", self.show_register),
            Route("/register", self.register, methods=["POST"]),
            Route("/logout", self.show_logout),
            Route("/logout", page_request.form_handler(self.logout, self.show_logout), methods=["POST"]),
        ]

    async def front(self, request: Request) -> Response:
        """Show strangers what Repruv is; a signed-in user is redirected to the first page."""
        if session := await self._session(request):
            return self.redirect(await self._first_page(session))
        return self.show(request, "front.html", more=self._front())

    async def try_demo(self, request: Request) -> Response:
        """Begin a guest's session and enable demo mode; the dashboard shows how it fills."""
        fields = await self.read(request)
        try:
            self.require(request, fields)
            admitted = await self._container.auth.begin_guest_session(
                client=self._container.device_cookie.client(request)
            )
        except errors.Error as error:
            return self._front_again(request, fields, error)
        return await self._sign_in(request, admitted, await self._enable_demo(admitted.token))

    async def _enable_demo(self, token: str) -> str:
        """Enable demo mode; return the path of the page that shows it."""
        try:
            session = await self._container.sessions.validate(token)
            await self._container.demo.enable_demo(session.identity, interaction_count=GUEST_INTERACTIONS)
        except errors.Error as error:
            # The guest has a session: the page of demo mode offers the same button.
            logger.warning("demo mode of a guest was not enabled", extra={"cause": error.code})
            return views.DEMO_PATH
        return views.DASHBOARD_PATH

    async def show_login(self, request: Request) -> Response:
        """Show the form; a signed-in user is redirected."""
        return await self._show_form(request, "login.html", email=self._container.email_cookie.read(request))

    async def show_register(self, request: Request) -> Response:
        """Show the form; a signed-in user is redirected."""
        return await self._show_form(request, "register.html")

    async def show_code(self, request: Request) -> Response:
        """Show the form of the second step; without a first step, redirect to the login page."""
        if not self._challenge.read(request):
            return self.redirect(redirects.LOGIN)
        next_path = redirects.local(request.query_params.get("next", ""))
        return self.show(request, "login_code.html", {"values": {"next": next_path}, "errors": {}})

    async def show_logout(self, request: Request) -> Response:
        """Ask whether to sign out: the address was typed, or the form token has expired."""
        visitor = await page_request.begin(request, self._container)
        return visitor.show("logout", "/logout", {})

    async def login(self, request: Request) -> Response:
        """Start a session, or redirect to the second step."""
        fields = await self.read(request, *LOGIN_FIELDS)
        try:
            self.require(request, fields)
            signed_in = await self._container.auth.login(
                email=fields["email"],
                password=fields["password"],
                remember=bool(fields["remember"]),
                client=self._container.device_cookie.client(request),
            )
        except errors.Error as error:
            return self.show_again(request, "login.html", fields, error)
        if signed_in.challenge:
            query = f"?next={quote(fields['next'], safe='/')}" if fields["next"] else ""
            response = self.redirect(f"{CODE_PATH}{query}")
            self._challenge.set(response, signed_in.challenge, cookies.CHALLENGE_SECONDS)
            return response
        return await self._welcome(request, signed_in, fields["next"])

    async def finish(self, request: Request) -> Response:
        """Answer the challenge of the first step with a code."""
        fields = await self.read(request, "code", "next")
        try:
            self.require(request, fields)
            signed_in = await self._container.auth.finish_login(
                challenge=self._challenge.read(request) or "",
                code=fields["code"],
                client=self._container.device_cookie.client(request),
            )
        except errors.Unauthenticated as error:
            if error.code == "invalid_code":
                return self.show_again(request, "login_code.html", fields, error)
            response = self.redirect(redirects.LOGIN, flash_code="sign_in_again")
            self._challenge.clear(response)
            return response
        except errors.Error as error:
            return self.show_again(request, "login_code.html", fields, error)
        return await self._welcome(request, signed_in, fields["next"])

    async def register(self, request: Request) -> Response:
        """Create an account and start its first session, or show that an email was sent."""
        fields = await self.read(request, *REGISTER_FIELDS)
        try:
            self.require(request, fields)
            registered = await self._container.auth.register(
                email=fields["email"],
                password=fields["password"],
                name=fields["name"],
                remember=bool(fields["remember"]),
                client=self._container.device_cookie.client(request),
            )
        except errors.Error as error:
            return self.show_again(request, "register.html", fields, error)
        if not registered.token:
            return rendering.answer(
                Reader.of_browser(request),
                "mail_sent.html",
                {"email": fields["email"], "flash": None, "purpose": "register"},
                202,
            )
        return await self._welcome(request, registered, fields["next"])

    async def logout(self, request: Request) -> Response:
        """End the session. Without a valid one, or while auth is not available, only this browser is signed out."""
        response = self.redirect(redirects.LOGIN, flash_code="signed_out")
        response.headers.update(headers.SIGNED_OUT)
        self._container.cookie.clear(response)
        self._container.email_cookie.clear(response)
        try:
            session, _ = await page_request.read_form(request, self._container)
            await self._container.auth.revoke_session(session.identity, session_id=session.session_id, reason="logout")
        except errors.Unauthenticated:
            return response
        except (errors.Unavailable, errors.DeadlineExceeded) as error:
            # The next person at this browser must not be signed in.
            logger.warning("session was not revoked at the sign-out", extra={"cause": error.code})
            flash.put(response, "signed_out_here", secure=self._secure)
            return response
        self._container.sessions.forget_revoked(session.user_id, {session.session_id})
        return response

    async def _welcome(self, request: Request, signed_in: clients.SignInResponse, next_path: str) -> Response:
        path = next_path or await self._first_page(await self._container.sessions.validate(signed_in.token))
        return await self._sign_in(request, signed_in, path)

    async def _sign_in(self, request: Request, signed_in: clients.SignInResponse, path: str) -> Response:
        response = self.redirect(path)
        await self._container.begin_session(request, response, signed_in)
        # Cookies from before the sign-in end with it.
        self._container.anonymous_cookie.clear(response)
        self._challenge.clear(response)
        return response

    async def _show_form(self, request: Request, template: str, *, email: str = "") -> Response:
        next_path = redirects.local(request.query_params.get("next", ""))
        session = await self._session(request)
        if session and session.user.role != auth_pb2.USER_ROLE_GUEST:
            return self.redirect(next_path or await self._first_page(session))
        return self.show(request, template, {"values": {"next": next_path, "email": email}, "errors": {}})

    def _front_again(self, request: Request, fields: Mapping[str, str], error: errors.Error) -> Response:
        return self.show_again(request, "front.html", fields, error, more=self._front())

    def _front(self) -> dict[str, Any]:
        return {"has_demo": self._container.settings.max_guests > 0}

    async def _session(self, request: Request) -> sessions.Session | None:
        """Return the session of a request, None without a valid one."""
        try:
            return await page_request.session_of(request, self._container)
        except errors.Unauthenticated:
            return None

    async def _first_page(self, session: sessions.Session) -> str:
        path: str = views.me(session.user, await self._container.demo.find_demo(identity=session.identity))[
            "redirect_path"
        ]
        return path
