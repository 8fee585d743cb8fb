"""The way in and out: signing in, making an account, signing out."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import errors as problems
from gateway import parts, sessions, views
from gateway.api import auth
from gateway.pages import flash, forms, redirects, rendering, visit
from repruv.auth.v1 import auth_service_pb2

LOGIN_FIELDS = ("email", "password")
REGISTER_FIELDS = ("name", "email", "password")


class Entrance:
    """`/`, `/login`, `/register` and `/logout`."""

    def __init__(self, assembled: parts.Parts) -> None:
        self._parts = assembled
        self._secure = assembled.settings.is_https
        self.routes = [
            Route("/", self.front),
            Route(redirects.LOGIN, self.show_login),
            Route(redirects.LOGIN, self.login, methods=["POST"]),
            Route("/register", self.show_register),
            Route("/register", self.register, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
        ]

    async def front(self, request: Request) -> Response:
        """Send to where this person goes first."""
        session = await self._session(request)
        return self._see(await self._first_page(session) if session else redirects.LOGIN)

    async def show_login(self, request: Request) -> Response:
        """Show the form; somebody who is signed in needs none."""
        return await self._show_entrance(request, "login.html")

    async def show_register(self, request: Request) -> Response:
        """Show the form; somebody who is signed in needs none."""
        return await self._show_entrance(request, "register.html")

    async def login(self, request: Request) -> Response:
        """Begin a session."""
        sent = await forms.read(request, *LOGIN_FIELDS, "next")
        try:
            made = await self._parts.auth.login(
                email=sent["email"], password=sent["password"], client=auth.client_of(request)
            )
        except errors.Error as error:
            return self._show_again("login.html", sent, error)
        return await self._welcome(made, redirects.local(sent["next"]))

    async def register(self, request: Request) -> Response:
        """Make an account and begin its first session."""
        sent = await forms.read(request, *REGISTER_FIELDS, "next")
        try:
            made = await self._parts.auth.register(
                email=sent["email"], password=sent["password"], name=sent["name"], client=auth.client_of(request)
            )
        except errors.Error as error:
            return self._show_again("register.html", sent, error)
        return await self._welcome(made, redirects.local(sent["next"]))

    async def logout(self, request: Request) -> Response:
        """End the session. Without a living one there is nothing to do, which is no error."""
        response = redirects.see(redirects.LOGIN, say="signed_out", secure=self._secure)
        self._parts.cookie.clear(response)
        try:
            session = await visit.session_of(request, self._parts)
            await self._parts.auth.revoke_session(session.session_id, reason="logout", user=session.identity)
        except errors.Unauthenticated:
            return response
        self._parts.sessions.revoked(session.user_id, {session.session_id})
        return response

    async def _welcome(
        self, made: auth_service_pb2.LoginResponse | auth_service_pb2.RegisterResponse, wanted: str
    ) -> Response:
        response = self._see(wanted or await self._first_page(await self._parts.sessions.validate(made.token)))
        self._parts.cookie.put(response, made.token, made.session)
        return response

    async def _show_entrance(self, request: Request, template: str) -> Response:
        wanted = redirects.local(request.query_params.get("next", ""))
        if session := await self._session(request):
            return self._see(wanted or await self._first_page(session))
        said = flash.take(request)
        response = self._show(template, forms.filled({"next": wanted}, {}), said)
        if said is not None:
            flash.clear(response, secure=self._secure)
        return response

    def _show_again(self, template: str, sent: dict[str, str], error: errors.Error) -> Response:
        shown = forms.mistakes_of(error, sent.keys())
        if shown is None:
            raise error
        status, mistakes = shown
        kept = {**sent, "next": redirects.local(sent["next"])}
        del kept["password"]
        response = self._show(template, forms.filled(kept, mistakes), None, status)
        if status in {429, 503}:
            response.headers.update(problems.problem_of(error).headers)
        return response

    def _show(self, template: str, form: dict[str, Any], said: flash.Flash | None, status: int = 200) -> Response:
        return rendering.answer(template, {"form": form, "flash": said, "next": form["values"]["next"]}, status)

    async def _session(self, request: Request) -> sessions.Session | None:
        """Give the session of a request, if it has one that lives."""
        try:
            return await visit.session_of(request, self._parts)
        except errors.Unauthenticated:
            return None

    async def _first_page(self, session: sessions.Session) -> str:
        path: str = views.me(session.user, await auth.known_demo(session, self._parts))["redirect_path"]
        return path

    def _see(self, path: str) -> Response:
        return redirects.see(path, secure=self._secure)
