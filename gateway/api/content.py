"""The data of demo mode: metrics, content items and interactions."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway import views
from gateway.api import schemas
from gateway.api.dependencies import Gateway, PageSize, PageToken, ReadSession
from gateway.api.responses import answer, route
from repruv.demo.v1 import demo_service_pb2

Days = Annotated[int, Query(ge=1, le=180, description="The number of days in `interactions_per_day`.")]
Date = Annotated[str, Query(pattern=r"^(\d{4}-\d{2}-\d{2})?$", description="Only those of this day (UTC).")]
DateDays = Annotated[int, Query(ge=1, le=31, description="How many days from `date` on.")]
Order = Literal["newest", "most_viewed"]

router = APIRouter(tags=["content"])


@router.get(
    "/metrics/dashboard", **route("The dashboard's numbers", views.Dashboard, "The numbers, at most a minute old.")
)
async def dashboard(session: ReadSession, gateway: Gateway, days: Days = 30) -> Response:
    """Return the metrics of the visible data."""
    return answer(views.dashboard(await gateway.demo.get_dashboard(session.identity, days=days)))


@router.get("/content", **route("List content items", views.Content, "A page of them."))
async def list_content(
    session: ReadSession,
    gateway: Gateway,
    page_size: PageSize = 20,
    page_token: PageToken = "",
    order_by: Order = "newest",
) -> Response:
    """Return visible content items."""
    rpc_request = demo_service_pb2.ListContentRequest(page_size=page_size, page_token=page_token, order_by=order_by)
    return answer(views.content(await gateway.demo.list_content.send(session.identity, rpc_request)))


@router.get("/interactions", **route("List interactions", views.Interactions, "A page of them."))
async def list_interactions(
    session: ReadSession,
    gateway: Gateway,
    page_size: PageSize = 20,
    page_token: PageToken = "",
    kind: views.InteractionKind | None = None,
    sentiment: views.Sentiment | None = None,
    needs_reply: bool = False,
    content_id: schemas.Text = "",
    date: Date = "",
    days: DateDays = 1,
    oldest_first: bool = False,
) -> Response:
    """Return visible interactions, newest first by default."""
    rpc_request = demo_service_pb2.ListInteractionsRequest(
        page_size=page_size,
        page_token=page_token,
        kind=kind or "",
        sentiment=sentiment or "",
        needs_reply=needs_reply,
        content_id=content_id,
        date=date,
        days=days,
        oldest_first=oldest_first,
    )
    return answer(views.interactions(await gateway.demo.list_interactions.send(session.identity, rpc_request)))
