"""Notifications: finished jobs until their owner has read them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway import views
from gateway.api.dependencies import Gateway, JobId, PageSize, PageToken, ReadSession, WriteSession
from gateway.api.responses import answer, route

router = APIRouter(prefix="/notifications", tags=["notifications"])


@router.get(
    "",
    **route(
        "What ended while you were away", views.Notifications, "A page of what was not read yet, the latest first."
    ),
)
async def list_notifications(
    session: ReadSession, gateway: Gateway, page_size: PageSize = 20, page_token: PageToken = ""
) -> Response:
    """Return the finished jobs that the user has not read."""
    page = await gateway.jobs.list_notifications(session.identity, page_size=page_size, page_token=page_token)
    return answer(views.notifications(page))


@router.post("/read-all", **route("All were read", None, "None is unread.", 403, status=204))
async def read_all(session: WriteSession, gateway: Gateway) -> Response:
    """Mark all notifications as read."""
    await gateway.jobs.mark_notifications_read(session.identity, job_ids=[])
    return Response(status_code=204)


@router.post(
    "/{job_id}/read", **route("Mark a notification as read", None, "It is read, or was before.", 403, 404, status=204)
)
async def read(job_id: JobId, session: WriteSession, gateway: Gateway) -> Response:
    """Mark one notification as read."""
    await gateway.jobs.mark_notifications_read(session.identity, job_ids=[job_id])
    return Response(status_code=204)
