"""Demo mode."""

from __future__ import annotations

from fastapi import APIRouter, Request
from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response

from gateway import idempotency, views
from gateway.api import schemas
from gateway.api.dependencies import Gateway, ReadSession, WriteSession
from gateway.api.responses import accepted, answer, route, starting_job
from repruv.demo.v1 import demo_service_pb2

router = APIRouter(prefix="/demo", tags=["demo"])


@router.post("/enable", **starting_job("Enable demo mode", views.DemoAccepted))
async def enable(
    request: Request, session: WriteSession, gateway: Gateway, body: schemas.EnableDemo | None = None
) -> Response:
    """Enable demo mode. The response comes at once; a job creates the data, and its events show the progress."""
    key = idempotency.idempotency_key(request.headers.get("idempotency-key"))
    options = body or schemas.EnableDemo.model_construct()
    rpc_request = demo_service_pb2.EnableDemoRequest(
        profile_type=options.profile_type,
        niche=options.niche,
        content_count=options.content_count,
        interaction_count=options.interaction_count,
        idempotency_key=key,
        expire_after=Duration(seconds=options.expires_in_seconds) if options.expires_in_seconds else None,
    )
    response = await gateway.demo.enable_demo.send(session.identity, rpc_request)
    return accepted(views.demo_accepted(response.demo, response.job_id), response.job_id, replayed=response.replayed)


@router.post("/disable", **starting_job("Disable demo mode", views.DemoAccepted))
async def disable(request: Request, session: WriteSession, gateway: Gateway) -> Response:
    """Disable demo mode. The data is hidden at once; a job deletes it."""
    key = idempotency.idempotency_key(request.headers.get("idempotency-key"))
    response = await gateway.demo.disable_demo(session.identity, idempotency_key=key)
    return accepted(views.demo_accepted(response.demo, response.job_id), response.job_id, replayed=response.replayed)


@router.get("/status", **route("Get demo mode", views.DemoStatus, "The current state."))
async def status(session: ReadSession, gateway: Gateway) -> Response:
    """Return the state of demo mode, with the progress of its job."""
    response = await gateway.demo.get_demo(session.identity)
    return answer(views.demo_status(response.demo, response.job if response.HasField("job") else None))


@router.post("/dismiss", **route("Dismiss a failure", views.DemoStatus, "Disabled.", 403, 409))
async def dismiss(session: WriteSession, gateway: Gateway) -> Response:
    """Move a failed demo mode to disabled."""
    dismissed = await gateway.demo.dismiss_demo(session.identity)
    return answer(views.demo_status(dismissed.demo, None))
