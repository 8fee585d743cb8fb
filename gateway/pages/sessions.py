"""The sessions of the user, and ending them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import ids
from gateway import redirects, views
from gateway.middleware import headers
from gateway.pages.page import Page

PATH = views.SESSIONS_PATH


class Sessions(Page):
    """`/settings/sessions`."""

    def routes(self) -> list[Route]:
        actions = {"revoke": self.revoke, "revoke-others": self.revoke_others, "revoke-all": self.revoke_all}
        flash_codes = {"session_not_found": "session_unknown", "invalid_argument": "session_unknown"}
        return self.page_routes(PATH, self.show, actions, flash_codes)

    async def show(self, request: Request) -> Response:
        """Show the active sessions, this one first."""
        visitor = await self.begin(request)
        listed = await self._container.auth.list_sessions(visitor.identity)
        session_views = [
            views.session(auth_session, current_id=visitor.session.session_id) for auth_session in listed.sessions
        ]
        # Sorting keeps the order of the rest: most recently used first.
        session_views.sort(key=lambda auth_session: not auth_session["current"])
        return visitor.show("sessions", PATH, {"sessions": session_views})

    async def revoke(self, request: Request) -> Response:
        """End one session; ending the current one signs out."""
        session, fields = await self.read_form(request, "session_id")
        session_id = str(ids.parse(fields["session_id"], "session_id"))
        is_current = session_id == session.session_id
        await self._container.auth.revoke_session(
            session.identity, session_id=session_id, reason="logout" if is_current else ""
        )
        self._container.sessions.forget_revoked(session.user_id, {session_id})
        return self._leave("signed_out") if is_current else self.redirect(PATH, flash_code="session_revoked")

    async def revoke_others(self, request: Request) -> Response:
        session, _ = await self.read_form(request)
        await self._container.auth.revoke_all_sessions(session.identity, except_session_id=session.session_id)
        self._container.sessions.forget_revoked(session.user_id, None)
        return self.redirect(PATH, flash_code="others_revoked")

    async def revoke_all(self, request: Request) -> Response:
        """End all sessions, the current one included."""
        session, _ = await self.read_form(request)
        await self._container.auth.revoke_all_sessions(session.identity)
        self._container.sessions.forget_revoked(session.user_id, None)
        return self._leave("everywhere_out")

    def _leave(self, flash_code: str) -> Response:
        response = self.redirect(redirects.LOGIN, flash_code=flash_code)
        response.headers.update(headers.SIGNED_OUT)
        self._container.cookie.clear(response)
        self._container.email_cookie.clear(response)
        return response
