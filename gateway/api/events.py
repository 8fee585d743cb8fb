"""Event streams (server-sent events) and polls for events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from chassis import errors
from gateway import weights
from gateway.api import schemas_events
from gateway.api.dependencies import Admin, Gateway, JobId, ReadSession
from gateway.api.responses import OpenApiResponses, answer, documented, header, route
from gateway.stream import places, poll, response

router = APIRouter(tags=["events"])

_EXAMPLE = """retry: 2417
id: 41
event: hello
data: {"resumed":true,"replayed":1,"server_time":"2026-11-23T09:30:00.000Z","heartbeat_s":15,"max_age_s":612}

id: 42
event: job
data: {"job_id":"0199…","status":"running","progress":{"done":0,"total":0,"percent":0,"message":""},"version":2}

event: ping
data: {}

"""


def _place(request: Request) -> places.Place:
    place: places.Place = request.scope["extensions"][places.EXTENSION]
    return place


Place = Annotated[places.Place, Depends(_place)]
After = Annotated[
    str | None,
    Query(max_length=100, description="`next` of the answer before, or the id of the last event that the client has."),
]
Wait = Annotated[float, Query(ge=0, le=poll.MAX_WAIT_SECONDS, description="How long to wait for an event, in seconds.")]
LastEventId = Annotated[str | None, Query(description="The id of the last event that the client has.")]
_RESUMABLE = {"parameters": [header("Last-Event-ID", "The same, as browsers send it; it takes precedence.")]}


def _stream_responses(*problem_statuses: int) -> OpenApiResponses:
    responses = documented(200, None, "The stream.", 406, 429, *problem_statuses)
    responses[200]["content"] = {response.MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}}
    return responses


@router.get("/events", summary="Everything that happens", responses=_stream_responses(), openapi_extra=_RESUMABLE)
async def user_events(
    request: Request, place: Place, session: ReadSession, gateway: Gateway, last_event_id: LastEventId = None
) -> Response:
    """Stream the user's events: `hello` first, then `job`, `demo`, `connection`, `export` and `notification`.

    `ping` keeps the connection open, `reset` means that events may be missing, and `bye` ends the stream. With the id of the
    last event (header `Last-Event-ID`, or the parameter) every later transition is sent, in order, once. Without it, the
    unfinished jobs are sent first. Each event is a whole snapshot with a `version`.
    """
    _require_acceptance(request)
    return await gateway.streams.open(place, session, _cursor(request, last_event_id))


@router.get(
    "/events/poll",
    **route(
        "Poll for events",
        schemas_events.PollResult,
        "The new events; none if none came within `wait` seconds.",
    ),
)
async def poll_events(
    place: Place, session: ReadSession, gateway: Gateway, after: After = None, wait: Wait = 20.0
) -> Response:
    """Return the events of the stream to clients that cannot hold one open. Poll again with `next`.

    New events are returned at once, else the first within `wait` seconds. Every transition is returned, in order, once,
    at most 500 at a time; `resumed` is false when some may be missing, and a `reset` among the events says why.
    """
    result = await gateway.streams.poll(place, session, after, wait=wait)
    return answer({"resumed": result.resumed, "events": result.events, "next": str(result.after)})


@router.get(
    "/jobs/{job_id}/events",
    summary="What happens to one job",
    responses=_stream_responses(404),
    openapi_extra=_RESUMABLE,
)
async def job_events(
    job_id: JobId,
    request: Request,
    place: Place,
    session: ReadSession,
    gateway: Gateway,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream one job's events, as above; the stream ends after the job's last event."""
    _require_acceptance(request)
    return await gateway.streams.open(place, session, _cursor(request, last_event_id), job_id)


@router.get(
    "/admin/jobs/{job_id}/events",
    summary="What happens to one job of any user",
    tags=["admin"],
    responses=_stream_responses(403, 404),
    openapi_extra=_RESUMABLE,
)
async def watched_job_events(
    job_id: JobId, request: Request, place: Place, session: Admin, gateway: Gateway, last_event_id: LastEventId = None
) -> Response:
    """Stream one job's events to an admin. `log` announces lines that its handler has logged.

    The stream does not end with the job, since a retry may follow.
    """
    _require_acceptance(request)
    return await gateway.streams.open(place, session, _cursor(request, last_event_id), job_id, is_operator=True)


def _cursor(request: Request, last_event_id: str | None) -> str | None:
    """Return the id from the browser's header, else the one that the page was rendered with."""
    return request.headers.get("last-event-id") or last_event_id or None


def accepts(lines: Sequence[str]) -> bool:
    """Return whether `Accept` allows an event stream; the most specific range decides (RFC 9110, 12.5.1)."""
    weight_of = weights.read(lines)
    if not "".join(weight_of):
        return True
    return next((weight_of[name] > 0 for name in (response.MEDIA_TYPE, "text/*", "*/*") if name in weight_of), False)


def _require_acceptance(request: Request) -> None:
    if not accepts(request.headers.getlist("accept")):
        raise errors.InvalidArgument(f"This is a stream of {response.MEDIA_TYPE}.", code="not_acceptable")
