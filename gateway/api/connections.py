"""Connections to platforms."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from chassis import errors
from gateway import redirects, views
from gateway.api import dependencies, schemas_connections
from gateway.api.dependencies import Gateway, ReadSession, SignedIn
from gateway.api.responses import answer, route
from gateway.middleware import headers
from repruv.auth.v1 import connections_service_pb2

router = APIRouter(prefix="/connections", tags=["connections"])

MAX_PARAMETER = 4_096
_PARAMETERS = {"state": "state", "code": "code", "error": "error", "iss": "issuer"}


@router.get("", **route("List connections", schemas_connections.Connections, "One for each platform."))
async def list_connections(session: ReadSession, gateway: Gateway) -> Response:
    """Return one connection for each platform, disconnected ones included."""
    connections = (await gateway.connections.list_connections(session.identity)).connections
    return answer({"connections": [views.connection(item) for item in connections]})


@router.get("/{platform}", **route("Get a connection", views.Connection, "The connection.", 404))
async def get_connection(platform: str, session: ReadSession, gateway: Gateway) -> Response:
    """Return a connection."""
    return answer(
        views.connection((await gateway.connections.get_connection(session.identity, platform=platform)).connection)
    )


@router.post(
    "/{platform}/connect",
    **route(
        "Connect", schemas_connections.Connecting, "Send the browser to the URL.", 400, 403, 404, 409, 429, status=202
    ),
)
async def connect(
    platform: str, session: SignedIn, gateway: Gateway, body: schemas_connections.Connect | None = None
) -> Response:
    """Return the address where the user consents. 409 `demo_mode_active` while connections are simulated."""
    response = await gateway.connections.begin_connect(
        session.identity, platform=platform, return_to=body.return_to if body else ""
    )
    connection = views.connection(response.connection)
    return answer(
        {
            "status": connection["status"],
            "authorization_url": response.authorization_url,
            "expires_at": views.optional_time(response, "expire_time"),
            "connection": connection,
        },
        202,
    )


@router.get(
    "/{platform}/callback",
    response_class=RedirectResponse,
    **route(
        "Back from the platform", None, "Where the user came from; the connection says how it went.", 404, status=303
    ),
)
async def callback(platform: str, request: Request, gateway: Gateway) -> Response:
    """Accept the platform's redirect. It is valid once, in the session that started the connection."""
    secure = gateway.settings.is_https
    try:
        session = await dependencies.signed_in(request, gateway)
        rpc_request = connections_service_pb2.FinishConnectRequest(platform=platform, **_parameters(request))
        finished = await gateway.connections.finish_connect.send(session.identity, rpc_request)
    except errors.Unauthenticated:
        # The login page leads back here. The consent is not lost, but it is valid only in the session that requested it.
        return _leaving(
            redirects.redirect(
                f"{redirects.LOGIN}?next={views.CONNECTIONS_PATH}", flash_code="session_ended", secure=secure
            )
        )
    except errors.InvalidArgument:
        # Back or reload repeats a used consent: the page shows the connection, and there is no failure to report.
        flash_code = "" if await _has_consent(platform, session.identity, gateway) else "consent_invalid"
        return _leaving(redirects.redirect(views.CONNECTIONS_PATH, flash_code=flash_code, secure=secure))
    except errors.Unavailable:
        return _leaving(redirects.redirect(views.CONNECTIONS_PATH, flash_code="connection_unavailable", secure=secure))
    is_declined = views.connection_state(finished.connection) == "disconnected"
    path = redirects.local(finished.return_to) or views.CONNECTIONS_PATH
    return _leaving(redirects.redirect(path, flash_code="consent_declined" if is_declined else "", secure=secure))


@router.post(
    "/{platform}/disconnect",
    **route("Disconnect", schemas_connections.Disconnecting, "Disconnecting…", 403, 404, 409, status=202),
)
async def disconnect(platform: str, session: SignedIn, gateway: Gateway) -> Response:
    """Revoke the access at the platform and delete stored data; also dismisses a failure."""
    response = await gateway.connections.disconnect(session.identity, platform=platform)
    connection = views.connection(response.connection)
    return answer({"status": connection["status"], "job_id": connection["job_id"], "connection": connection}, 202)


async def _has_consent(platform: str, identity: str, gateway: Gateway) -> bool:
    try:
        connection = (await gateway.connections.get_connection(identity, platform=platform)).connection
    except errors.Error:
        return False
    snapshot = views.connection(connection)
    # Before the consent, a connecting one has no job.
    return snapshot["status"] == "connected" or (snapshot["status"] == "connecting" and bool(snapshot["job_id"]))


def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the platform's redirect. Raises `InvalidArgument` for repeated or oversized ones."""
    parameters = {}
    for parameter, name in _PARAMETERS.items():
        values = request.query_params.getlist(parameter)
        if len(values) > 1 or any(len(value) > MAX_PARAMETER or "\0" in value for value in values):
            raise errors.InvalidArgument(f"{parameter} is not valid.", code="state_invalid", field=parameter)
        parameters[name] = values[0].encode("utf-8", "replace").decode() if values else ""
    return parameters


def _leaving(response: RedirectResponse) -> Response:
    """Keep the code and the state, which are in the address, out of the `Referer` of the next request."""
    response.headers.update(headers.NO_REFERRER)
    return response
