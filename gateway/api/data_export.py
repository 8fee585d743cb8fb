"""The export of the user's data: everything that is stored about them, in every service."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from gateway.api.dependencies import Gateway, SignedIn
from gateway.api.responses import accepted, answer, documented, route
from gateway.identity.client_info import client_info
from gateway.views import exports as views

router = APIRouter(prefix="/auth/data-export", tags=["security"])
_FILE = documented(200, None, "The archive.", 403, 404)
_FILE[200]["content"] = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "",
    **route("Export my data", views.DataExportStatus, "Accepted; `Location` is the job.", 400, 403, 409, status=202),
)
async def start_data_export(request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Start a job that writes everything of the user to an archive, which replaces an earlier one.

    403 `reauthentication_required`, 409 `data_export_running`. Cancel and retry the job.
    """
    data_export = (await gateway.data_exports.start(session.identity, client=client_info(request))).data_export
    return accepted(views.data_export(data_export), data_export.job_id, replayed=False)


@router.get("", **route("Status of the data export", views.DataExportStatus, "The export.", 403))
async def get_data_export(session: SignedIn, gateway: Gateway) -> Response:
    """Return the user's data export; its job has the progress."""
    return answer(views.data_export((await gateway.data_exports.get(session.identity)).data_export))


@router.get("/file", summary="Download my data", response_class=StreamingResponse, responses=_FILE)
async def download_data_export(session: SignedIn, gateway: Gateway) -> Response:
    """Return the archive: a ZIP of JSON lines with a manifest, at most 64 MiB. 404 unless the export is ready.

    403 `reauthentication_required`.
    """
    changed_at = (await gateway.data_exports.get(session.identity)).data_export.change_time.ToDatetime()
    name = f"repruv-data-{changed_at:%Y-%m-%d}.zip"
    return gateway.downloads.attachment(
        gateway.data_exports.download_export(identity=session.identity),
        name,
        "application/zip",
        user_id=session.user_id,
    )
