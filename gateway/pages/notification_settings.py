"""What the user is notified of: on pages, and by email."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import views
from gateway.pages.settings_form import SettingsForm
from repruv.auth.v1 import auth_pb2, auth_service_pb2


class NotificationSettings(SettingsForm):
    """`/settings/notifications`."""

    path = views.NOTIFICATION_SETTINGS_PATH
    template = "notification_settings"
    fields = ("page_notices", "job_emails")
    saved = "notification_settings_saved"

    def values(self, user: auth_pb2.User) -> Mapping[str, str]:
        """Return the settings."""
        settings = views.notification_settings(user)
        return {"page_notices": "yes" if settings["page_notices"] else "", "job_emails": settings["job_emails"]}

    async def send(self, identity: str, fields: Mapping[str, str]) -> None:
        """Change the settings."""
        changes = auth_service_pb2.UpdateNotificationSettingsRequest(page_notices=bool(fields["page_notices"]))
        changes.job_emails = next(
            (value for setting, value in views.JOB_EMAILS.items() if setting == fields["job_emails"]),
            auth_pb2.JOB_EMAILS_UNSPECIFIED,
        )
        await self._container.auth.update_notification_settings.send(identity, changes)
