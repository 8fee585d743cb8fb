"""The documents of the interfaces: /openapi.json, /asyncapi.json, and Swagger UI on /docs from files of our own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from gateway.api import dependencies, responses
from gateway.identity import cookies

TITLE = "Repruv API"
PATH = "/docs"
ASYNCAPI = Path(__file__).parent / "asyncapi.json"
"""The NATS messages of all services; `python -m dev.generated` writes it."""
ASSETS = Path(fastapi_offline.__file__).parent / "static"
DESCRIPTION = """Durable long operations, and events that show their state.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Times are ISO 8601 in UTC. Ids of other owners do not
exist. Sign in with `POST /api/v1/auth/login` (cookie) or `POST /api/v1/auth/token` (bearer). A program sends an API token
instead, which its user creates in the settings: `Authorization: Bearer rpa_…`.
"""
# No script in the page itself: the content policy allows none.
_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>API · Repruv</title>
  <link rel="icon" href="/docs/assets/favicon.png">
  <link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
  <nav>
    <a href="/">Repruv</a> · <a href="/openapi.json">openapi.json</a> · <a href="/asyncapi.json">asyncapi.json</a>
  </nav>
  <div id="docs"></div>
  <script src="/docs/assets/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#docs',
  deepLinking: true,
  tryItOutEnabled: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
_FORM_OF_API_TOKENS = "rpa_[0-9A-Za-z]{49}"
_SESSION: list[dict[str, list[str]]] = [{"cookie": []}, {"bearer": []}]
_PROBLEM = {
    "title": "Problem",
    "description": "Why a request failed (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "errors", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:repruv:problem:demo_enabling"]},
        "title": {"type": "string", "examples": ["Demo enabling"]},
        "status": {"type": "integer", "examples": [409]},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "Stable and machine-readable.", "examples": ["demo_enabling"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "request_id": {"type": "string"},
    },
}


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation, by which generators of clients call its function."""
    return f"{route.tags[0]}_{route.name}"


def _document_scopes(routes: Iterable[tuple[str, APIRoute]], schema: dict[str, Any]) -> None:
    """Name the API token's scope in each route that accepts one."""
    for path, route in routes:
        if scope := dependencies.scope_of(route):
            for method in route.methods or ():
                operation = schema["paths"][path][method.lower()]
                operation["security"] = [*_SESSION, {"api_token": [scope]}]
                operation["responses"].setdefault("403", responses.problem_response(403))


def _document_refusals(schema: dict[str, Any]) -> None:
    """Add how requests are refused that other sites send, or whose body is unusable, also where no body is read."""
    for operations in schema["paths"].values():
        for method, operation in operations.items():
            if method != "get":
                for status in (403, 408, 413, 415):
                    operation["responses"].setdefault(str(status), responses.problem_response(status))


def install(app: FastAPI, cookie: cookies.SessionCookie, routes: Iterable[tuple[str, APIRoute]]) -> None:
    """Add the OpenAPI and AsyncAPI documents and Swagger UI to `app`; `routes` are those of the REST API, with their paths."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=TITLE, version=app.version, description=DESCRIPTION, routes=app.routes)
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {})["Problem"] = _PROBLEM
            components["securitySchemes"] = {
                "cookie": {"type": "apiKey", "in": "cookie", "name": cookie.name},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The token of a session."},
                "api_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": _FORM_OF_API_TOKENS,
                    "description": "An API token. Each route names the scope that it requires.",
                },
            }
            schema["security"] = _SESSION
            _document_scopes(routes, schema)
            _document_refusals(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    messages = ASYNCAPI.read_bytes()

    async def asyncapi() -> Response:
        return Response(messages, media_type="application/json")

    async def page() -> Response:
        return HTMLResponse(_PAGE)

    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_api_route("/asyncapi.json", asyncapi, include_in_schema=False)
    app.add_api_route(PATH, page, include_in_schema=False)
    app.add_api_route(f"{PATH}/start.js", start, include_in_schema=False)
    app.mount(f"{PATH}/assets", StaticFiles(directory=ASSETS))
