"""Which service may use which rpc: the tables of all servicers, discovered by a file search, beside all rpcs of the protos.

`python -m tests.contract.callers` writes them into docs/calling-us.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from google.protobuf.descriptor import MethodDescriptor

from provision.services import CALLERS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "calling-us.md"
MARK = "<!-- generated -->"
OTHER = "other"
"""A service that no table names."""
COLUMNS = (*CALLERS, OTHER)


def tables() -> dict[str, Mapping[str, Container[str]]]:
    """Return the table of each service, by its full proto name."""
    return {module.SERVICE: module.CALLERS for module in _servicers() if hasattr(module, "CALLERS")}


def scopes() -> dict[str, Mapping[str, str]]:
    """Return the scopes of each service that API tokens may call, by its full proto name."""
    return {module.SERVICE: module.SCOPES for module in _servicers() if hasattr(module, "SCOPES")}


def _servicers() -> Iterator[ModuleType]:
    for path in sorted((ROOT / "services").rglob("*servicer.py")):
        yield importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def rpcs() -> Iterator[MethodDescriptor]:
    """Yield every rpc of the protos."""
    for path in sorted((ROOT / "protos/gen/repruv").rglob("*_service_pb2.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT / "protos/gen").with_suffix("").parts))
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def page() -> str:
    """Return the page of the documentation with its tables as they must be."""
    sections = [f"{DOCUMENT.read_text().partition(MARK)[0]}{MARK}\n"]
    callers, scope_of_rpc, last = tables(), scopes(), ""
    for rpc in rpcs():
        service = rpc.containing_service.full_name
        if service != last:
            sections.append(
                f"\n### {service}\n\n| rpc | API token | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}\n"
            )
        last = service
        allowed = callers[service][rpc.name]
        cells = [
            scope_of_rpc.get(service, {}).get(rpc.name, ""),
            *("yes" if name in allowed else "" for name in COLUMNS),
        ]
        sections.append(f"| {rpc.name} | {' | '.join(cells)} |\n")
    return "".join(sections)


if __name__ == "__main__":
    DOCUMENT.write_text(page())
