"""Generates `static/repruv/types.d.ts` from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from gateway import app

TARGET = Path(__file__).parent / "static" / "repruv" / "types.d.ts"
_EXCLUDED_TAGS = frozenset({"admin", "auth", "passkeys", "security", "sessions"})
"""Operations whose responses a frontend does not handle: the pages of accounts and admins come from the server."""
_ROOTS = ("Me",)
"""Schemas to generate besides those of the other operations; schemas they refer to are generated too."""
_HEADER = """/** Generated from the OpenAPI document by `make protos`; do not edit. Times are ISO 8601 in UTC. */
"""
_PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

Schema = dict[str, Any]


def generate() -> str:
    application = FastAPI()
    app.include_api(application)
    document = application.openapi()
    schemas: dict[str, Schema] = document["components"]["schemas"]
    roots = [*_ROOTS, *_references(list(_responses(document)))]
    return "\n".join([_HEADER, *(_interface(name, schemas[name]) for name in _reachable(roots, schemas))])


def _responses(document: Schema) -> Iterator[Schema]:
    """Yield the successful responses that a frontend handles."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if _EXCLUDED_TAGS.isdisjoint(operation["tags"]):
                yield from (response for status, response in operation["responses"].items() if status < "300")


def _reachable(roots: Iterable[str], schemas: dict[str, Schema]) -> list[str]:
    names: dict[str, None] = {}
    queue = list(roots)
    while queue:
        name = queue.pop(0)
        if name not in names:
            names[name] = None
            queue.extend(_references(schemas[name]))
    return sorted(names)


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield _name(node)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _name(reference: Schema) -> str:
    return str(reference["$ref"].rpartition("/")[2])


def _interface(name: str, schema: Schema) -> str:
    lines = [f"/** {schema['description']} */"] if "description" in schema else []
    lines.append(f"export interface {name} {{")
    required = set(schema.get("required", ()))
    for field, inner in schema["properties"].items():
        if "description" in inner:
            lines.append(f"  /** {inner['description']} */")
        lines.append(f"  {field}{'' if field in required else '?'}: {_type(inner)};")
    return "\n".join([*lines, "}", ""])


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " | ".join(_type(option) for option in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " | ".join(_literal(value) for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        inner = _type(schema["items"])
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {_type(values) if isinstance(values, dict) and values else 'unknown'}>"
    return _PRIMITIVES[schema["type"]]


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()
