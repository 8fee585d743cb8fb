"""What the user is notified of: on pages, and by email."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_profile
from gateway.api.dependencies import Gateway, ReadSession, SignedIn
from gateway.api.responses import answer, route
from repruv.auth.v1 import auth_service_pb2

router = APIRouter(prefix="/auth/notification-settings", tags=["security"])


@router.get("", **route("Read the notification settings", views.NotificationSettings, "The settings."))
async def get_notification_settings(session: ReadSession) -> Response:
    """Return what the user is notified of."""
    return answer(views.notification_settings(session.user))


@router.patch(
    "", **route("Change the notification settings", views.NotificationSettings, "The settings now.", 400, 403)
)
async def update_notification_settings(
    body: schemas_profile.NotificationSettingsChanges, session: SignedIn, gateway: Gateway
) -> Response:
    """Change the given settings; the others stay as they are."""
    request = auth_service_pb2.UpdateNotificationSettingsRequest(page_notices=body.page_notices)
    if body.job_emails is not None:
        request.job_emails = views.JOB_EMAILS[body.job_emails]
    if body.muted_notices is not None:
        request.muted_notices.SetInParent()
        request.muted_notices.categories.extend(views.NOTICE_CATEGORIES[name] for name in body.muted_notices)
    updated = await gateway.auth.update_notification_settings.send(session.identity, request)
    gateway.sessions.forget_refreshed(session.user_id, {session.session_id})
    return answer(views.notification_settings(updated.user))
