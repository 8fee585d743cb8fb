"""The ASGI application: routes, middleware, lifespan, and the probes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from chassis import run
from gateway import metrics, openapi, problems
from gateway.api import (
    admin_jobs,
    admin_users,
    auth,
    connections,
    content,
    data_export,
    deletion,
    demo,
    email_change,
    events,
    exports,
    jobs,
    notification_settings,
    notifications,
    passkeys,
    profile,
    responses,
    security,
    sessions,
    tokens,
)
from gateway.api.dependencies import Gateway
from gateway.container import Container
from gateway.middleware import (
    access_log,
    body_limit,
    head,
    headers,
    media_type,
    overload,
    rate_limits,
    request_id,
    same_origin,
)
from gateway.stream import places, response

VERSION = "1.1.0"

_ACCOUNTS = (auth.router, sessions.router, security.router)
_ROUTERS = (
    *_ACCOUNTS,
    demo.router,
    jobs.router,
    passkeys.router,
    profile.router,
    notification_settings.router,
    email_change.router,
    deletion.router,
    data_export.router,
    tokens.router,
    connections.router,
    notifications.router,
    content.router,
    events.router,
    exports.router,
    admin_jobs.router,
    admin_users.router,
)

probes = APIRouter(include_in_schema=False)


def create(
    container: Container, *, pages: Sequence[BaseRoute] = (), error_page: problems.Page | None = None
) -> FastAPI:
    """Build the application. `error_page` renders problems for requests that accept HTML."""
    app = FastAPI(
        title=openapi.TITLE,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        # FastAPI's own spans hold whole queries, with what is secret in them, and continue the trace that any client names.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.container = container
    app.include_router(probes)
    include_api(app)
    for _, route in api_routes():
        for method in route.methods or ():
            # Without the prefix, as requests have it: both prefixes count as one route.
            metrics.expect(method, route.path)
    openapi.install(app, container.cookie, api_routes())
    app.router.routes.extend(pages)
    responder = problems.ErrorResponder(error_page)
    responder.install(app)
    # The middleware added last runs first.
    app.add_middleware(head.Head)
    app.add_middleware(media_type.MediaType, responder=responder)
    app.add_middleware(same_origin.SameOrigin, public_origin=container.settings.public_origin, responder=responder)
    app.add_middleware(places.PlaceMiddleware, responder=responder)
    app.add_middleware(overload.Overload, responder=responder)
    app.add_middleware(body_limit.BodyLimit, responder=responder)
    app.add_middleware(rate_limits.RateLimit, limits=container.settings.rate_limits, responder=responder)
    app.add_middleware(access_log.AccessLog, responder=responder)
    app.add_middleware(headers.SecurityHeaders, https=container.settings.is_https)
    app.add_middleware(request_id.RequestId, trust_traceparent=container.settings.trust_traceparent)
    app.add_middleware(response.TakeOverMiddleware)
    return app


def include_api(app: FastAPI) -> None:
    """Add the routes of the REST API."""
    for router in _ROUTERS:
        app.include_router(router, prefix=responses.BASE, generate_unique_id_function=openapi.operation_id)
    # The frontend's older paths.
    for router in (*_ACCOUNTS, demo.router, jobs.router):
        app.include_router(router, prefix="/api", include_in_schema=False)


def api_routes() -> Iterator[tuple[str, APIRoute]]:
    """Yield the routes of the REST API with their paths."""
    for router in _ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                yield responses.BASE + route.path, route


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    container: Container = app.state.container
    try:
        async with run.Background() as background:
            background.start("bus", container.bus.run)
            background.start("streams", container.streams.run)
            yield
    finally:
        await container.close()


@probes.get("/healthz")
async def healthz() -> Response:
    """Report that the process is alive."""
    return JSONResponse({"status": "ok"})


@probes.get("/readyz")
async def readyz(gateway: Gateway) -> Response:
    """Report whether requests can be handled. NATS is not required: without it events are polled from the services."""
    services = await gateway.are_ready()
    is_ready = all(services.values())
    body = {"status": "ok" if is_ready else "unavailable", "services": services, "nats": gateway.bus.is_connected}
    return JSONResponse(body, 200 if is_ready else 503)


@probes.get("/metrics")
async def exposition() -> Response:
    """Return the metrics in the format of Prometheus."""
    return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
