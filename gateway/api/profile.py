"""The user's profile: name, time zone, theme."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_profile
from gateway.api.dependencies import Gateway, ReadSession, SignedIn
from gateway.api.responses import answer, route
from repruv.auth.v1 import auth_service_pb2

router = APIRouter(prefix="/auth/profile", tags=["security"])


@router.get("", **route("Read the profile", views.Profile, "The profile."))
async def get_profile(session: ReadSession) -> Response:
    """Return how the user is named and reads pages."""
    return answer(views.profile(session.user))


@router.patch("", **route("Change the profile", views.Profile, "The profile after the change.", 400, 403))
async def update_profile(body: schemas_profile.ProfileChanges, session: SignedIn, gateway: Gateway) -> Response:
    """Change the given fields; the others stay as they are."""
    request = auth_service_pb2.UpdateProfileRequest(name=body.name, time_zone=body.time_zone)
    if body.theme is not None:
        request.theme = views.THEMES[body.theme]
    updated = await gateway.auth.update_profile.send(session.identity, request)
    gateway.sessions.forget_refreshed(session.user_id, {session.session_id})
    return answer(views.profile(updated.user))
