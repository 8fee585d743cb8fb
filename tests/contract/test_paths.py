"""The paths of the API that the documentation names exist, with the methods that it names."""

from __future__ import annotations

import re

from dev.site import rest
from tests.contract import documented

BASE = "/api/v1"
OF_PROBES = {("GET", path) for path in ("/healthz", "/readyz", "/metrics")}
NAMED = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}-]+)|(/api/v1/[\w/{}-]+)")


def _general(path: str) -> str:
    """Return the path below `BASE`, with the names of its parameters left out."""
    return re.sub(r"\{[^}]*\}", "{}", path.removeprefix(BASE))


def test_named_paths_exist() -> None:
    operations = {
        (method.upper(), _general(path)) for path, methods in rest.document()["paths"].items() for method in methods
    } | OF_PROBES
    paths = {path for _, path in operations}
    named, missing = 0, []
    for page, text in documented.pages().items():
        for method, operation_path, other_path in NAMED.findall(text):
            named += 1
            if method:
                exists = (method, _general(operation_path)) in operations
            else:  # also the beginning of several
                exists = any(path.startswith(_general(other_path)) for path in paths)
            if not exists:
                missing.append(f"{page}: {method} {operation_path or other_path}")
    assert named > 20
    assert missing == []
