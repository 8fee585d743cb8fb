"""What the user is notified of: on pages, and by email."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.container import Container
from gateway.pages import forms
from gateway.pages.page import Page
from repruv.auth.v1 import auth_pb2, auth_service_pb2

PATH = views.NOTIFICATION_SETTINGS_PATH
FIELDS = ("page_notices", "job_emails")


class NotificationSettings(Page):
    """`/settings/notifications`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [Route(PATH, self.show), *self.form_routes(PATH, self.show, {"save": self.save})]

    async def show(self, request: Request) -> Response:
        """Show the settings."""
        return await self._show(request)

    async def save(self, request: Request) -> Response:
        """Change the settings."""
        session, fields = await self.read_form(request, *FIELDS)
        changes = auth_service_pb2.UpdateNotificationSettingsRequest(page_notices=bool(fields["page_notices"]))
        changes.job_emails = next(
            (value for setting, value in views.JOB_EMAILS.items() if setting == fields["job_emails"]),
            auth_pb2.JOB_EMAILS_UNSPECIFIED,
        )
        try:
            await self._container.auth.update_notification_settings.send(session.identity, changes)
        except errors.Error as error:
            if error.code == "session_invalid" or (failure := forms.mistakes_of(error, FIELDS)) is None:
                raise
            return await self._show(request, forms.filled(fields, failure[1]), status=failure[0])
        self._container.sessions.forget_refreshed(session.user_id, {session.session_id})
        return self.see(PATH, say="notification_settings_saved")

    async def _show(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        visitor = await self.begin(request)
        saved = views.notification_settings(visitor.session.user)
        values = {"page_notices": "yes" if saved["page_notices"] else "", "job_emails": saved["job_emails"]}
        return visitor.show("notification_settings", PATH, {"form": form or forms.filled(values, {})}, status=status)
