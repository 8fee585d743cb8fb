"""Exports of the user's reviews as a CSV file."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from chassis import errors
from gateway import idempotency
from gateway.api.dependencies import Gateway, ReadSession, WriteSession
from gateway.api.responses import accepted, answer, documented, route, starting_job
from gateway.views import exports as views

router = APIRouter(prefix="/exports", tags=["exports"])
_FILE = documented(200, None, "The file.", 403, 404)
_FILE[200]["content"] = {"text/csv": {"schema": {"type": "string"}}}


@router.post("", **starting_job("Export my reviews", views.ExportAccepted))
async def start(request: Request, session: WriteSession, gateway: Gateway) -> Response:
    """Start a job that writes the visible reviews to a file, which replaces an earlier one. Cancel and retry the job."""
    key = idempotency.idempotency_key(request.headers.get("idempotency-key"))
    response = await gateway.exports.start_export(session.identity, idempotency_key=key)
    body = views.ExportAccepted(status=views.export_state(response.export), job_id=response.job_id)
    return accepted(body, response.job_id, replayed=response.replayed)


@router.get("", **route("Status of the export", views.ExportStatus, "The export."))
async def status(session: ReadSession, gateway: Gateway) -> Response:
    """Return the user's export; its job has the progress."""
    return answer(views.export_status((await gateway.exports.get_export(session.identity)).export))


@router.get("/file", summary="Download the file", response_class=StreamingResponse, responses=_FILE)
async def file(session: ReadSession, gateway: Gateway) -> Response:
    """Return the file: CSV by RFC 4180 in UTF-8, at most 64 MiB. 404 unless the export is ready.

    Cells that a spreadsheet would run as a formula begin with an apostrophe.
    """
    export = (await gateway.exports.get_export(session.identity)).export
    if views.export_state(export) != "ready":
        raise errors.NotFound("There is no exported file.", code="export_not_found")
    name = f"repruv-reviews-{export.change_time.ToDatetime():%Y-%m-%d}.csv"
    return gateway.downloads.attachment(
        gateway.exports.download_export(identity=session.identity),
        name,
        "text/csv; charset=utf-8",
        user_id=session.user_id,
    )
