"""The reference of the REST API: a page for each tag of the OpenAPI document, and one for its schemas."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI

from gateway import app, openapi

_SCHEMAS = "schemas"
Schema = dict[str, Any]


def document() -> Schema:
    application = FastAPI(version=app.VERSION)
    app.include_api(application)
    openapi.install(application, SimpleNamespace(name="session"), app.api_routes())  # type: ignore[arg-type]
    return application.openapi()


def pages() -> dict[str, str]:
    """Return the text of each page by its path."""
    described = document()
    tags: dict[str, list[str]] = defaultdict(list)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            tags[operation["tags"][0]] += _operation(method.upper(), path, operation)
    schemas = [line for name, schema in described["components"]["schemas"].items() for line in _schema(name, schema)]
    written = {_path(tag): f"# {tag.capitalize()}\n\n" + "\n".join(lines) for tag, lines in tags.items()}
    written[_path("index")] = (
        f"# REST API\n\n{described['info']['description']}\n[openapi.json](openapi.json) is the document.\n"
    )
    written[_path(_SCHEMAS)] = "# Schemas\n\n" + "\n".join(schemas)
    return {**written, "reference/rest/openapi.json": json.dumps(described, indent=1)}


def _path(name: str) -> str:
    return f"reference/rest/{name}.md"


def _operation(method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"## {operation['summary']} {{#{operation['operationId']}}}\n\n`{method} {path}`\n"
    if text := operation.get("description"):
        yield f"{text}\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | |\n|---|---|---|---|"
        for each in parameters:
            required = ", required" if each.get("required") and each["in"] != "path" else ""
            yield f"| `{each['name']}` | {each['in']}{required} | {_type(each['schema'])} | {_cell(each)} |"
        yield ""
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body (`{media}`): {_type(body['schema'])}\n"
    yield "| response | type | |\n|---|---|---|"
    for status, response in sorted(operation["responses"].items()):
        types = {_type(content["schema"]) for content in response.get("content", {}).values() if content.get("schema")}
        yield f"| {status} | {', '.join(sorted(types))} | {_cell(response)} |"
    yield ""


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"## {name} {{#{name}}}\n\n{schema.get('description', '')}\n"
    if properties := schema.get("properties"):
        required = set(schema.get("required", ()))
        yield "| field | type | |\n|---|---|---|"
        for field, described in properties.items():
            optional = "" if field in required else "optional. "
            yield f"| `{field}` | {_type(described)} | {optional}{_cell(described)} |"
        yield ""


def _cell(described: Schema) -> str:
    return str(described.get("description", "")).replace("|", r"\|").replace("\n", " ")


def _type(schema: Schema) -> str:
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}]({_SCHEMAS}.md#{name})"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if values := schema.get("enum"):
        return ", ".join(f"`{value}`" for value in values)
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any")
    return f"list of {_type(schema['items'])}" if kind == "array" and "items" in schema else f"`{kind}`"
