"""What the user is notified of: on pages, and by email."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import views
from gateway.pages import notices
from gateway.pages.settings_form import SettingsForm
from repruv.auth.v1 import auth_pb2, auth_service_pb2


def _field(category: views.NoticeCategory) -> str:
    return f"notices_{category}"


class NotificationSettings(SettingsForm):
    """`/settings/notifications`."""

    path = views.NOTIFICATION_SETTINGS_PATH
    template = "notification_settings"
    fields = (*(_field(category) for category in notices.CATEGORIES), "job_emails")
    saved = "notification_settings_saved"

    def values(self, user: auth_pb2.User) -> Mapping[str, str]:
        muted = notices.muted_of(user)
        categories = {_field(category): "" if category in muted else "yes" for category in notices.CATEGORIES}
        return {**categories, "job_emails": views.notification_settings(user)["job_emails"]}

    async def send(self, identity: str, fields: Mapping[str, str]) -> None:
        muted = [category for category in notices.CATEGORIES if not fields[_field(category)]]
        changes = auth_service_pb2.UpdateNotificationSettingsRequest(page_notices=len(muted) < len(notices.CATEGORIES))
        changes.muted_notices.SetInParent()
        changes.muted_notices.categories.extend(views.NOTICE_CATEGORIES[category] for category in muted)
        changes.job_emails = next(
            (value for setting, value in views.JOB_EMAILS.items() if setting == fields["job_emails"]),
            auth_pb2.JOB_EMAILS_UNSPECIFIED,
        )
        await self._container.auth.update_notification_settings.send(identity, changes)
