"""The application: its routes, its life, and what every request passes through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from chassis import run
from gateway import docs, errors, headers, limits, metrics, middleware, origin, renewal
from gateway.api import (
    admin_jobs,
    admin_users,
    auth,
    connections,
    content,
    demo,
    dependencies,
    events,
    jobs,
    notifications,
    passkeys,
    security,
    sessions,
)
from gateway.api.dependencies import Gateway
from gateway.parts import Parts
from gateway.stream import response

VERSION = "1.0.0"

probes = APIRouter(include_in_schema=False)


def create(parts: Parts, *, pages: Sequence[BaseRoute] = (), error_page: errors.Page | None = None) -> FastAPI:
    """Make the application. `pages` are routes of pages; `error_page` shows problems to people who asked for one."""
    app = FastAPI(
        title="Repruv",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.parts = parts
    app.include_router(probes)
    accounts = (auth.router, sessions.router, security.router)
    rest = (
        passkeys.router,
        connections.router,
        notifications.router,
        content.router,
        events.router,
        admin_jobs.router,
        admin_users.router,
    )
    for router in (*accounts, demo.router, jobs.router, *rest):
        app.include_router(router, prefix=dependencies.BASE)
    # The frontend's older paths.
    for router in (*accounts, demo.router, jobs.router):
        app.include_router(router, prefix="/api", include_in_schema=False)
    docs.install(app, parts.cookie)
    app.router.routes.extend(pages)
    answers = errors.Answers(error_page)
    answers.install(app)
    # The last one added is the first one passed.
    app.add_middleware(middleware.BodyLimit, answers=answers)
    app.add_middleware(origin.SameOrigin, public_origin=parts.settings.public_origin, answers=answers)
    app.add_middleware(limits.Limit, limits=parts.settings.rate_limits, answers=answers)
    app.add_middleware(renewal.Renewal, cookie=parts.cookie)
    app.add_middleware(middleware.Observe, answers=answers)
    app.add_middleware(headers.SecurityHeaders, https=parts.settings.is_https)
    app.add_middleware(middleware.RequestId)
    app.add_middleware(response.HandOff)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    try:
        async with run.Background() as background:
            background.start("bus", parts.bus.run)
            background.start("streams", parts.streams.run)
            yield
    finally:
        await parts.close()


@probes.get("/healthz")
async def healthz() -> Response:
    """Answer that the process lives."""
    return JSONResponse({"status": "ok"})


@probes.get("/readyz")
async def readyz(gateway: Gateway) -> Response:
    """Answer whether requests can be served. NATS is no condition: without it events are found by asking."""
    services = await gateway.are_ready()
    is_ready = all(services.values())
    answer = {"status": "ok" if is_ready else "unavailable", "services": services, "nats": gateway.bus.is_connected}
    return JSONResponse(answer, 200 if is_ready else 503)


@probes.get("/metrics")
async def exposition() -> Response:
    """Answer what Prometheus wants to know."""
    return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
