"""Which service may use which rpc: the tables of all servicers, discovered by a file search, beside all rpcs of the protos.

`python -m tests.contract.callers` writes docs/callers.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from google.protobuf.descriptor import MethodDescriptor

from provision.services import CALLERS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "callers.md"

HEAD = """# Who may call what

The tables `CALLERS` of all servicers, written by `python -m tests.contract.callers`. One test compares this page with the tables,
another one tries every rpc as every other service. A call is accepted if its certificate and its signature name the same service,
the signature is for the called service, and the caller is in the rpc's row. Otherwise it fails with PERMISSION_DENIED
`caller_not_allowed`. After that each servicer checks the user of the call and what that user may see.

The column *API token* is the scope that a call for an API token needs. Without one it fails with `session_required`.
"""


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
    """Write the page of the documentation."""
    lines = [HEAD]
    callers, needed, last = tables(), scopes(), ""
    for rpc in rpcs():
        service = rpc.containing_service.full_name
        if service != last:
            lines += [f"## {service}\n", f"| rpc | API token | {' | '.join(CALLERS)} |"]
            lines.append(f"|---|---|{'---|' * len(CALLERS)}")
        last = service
        allowed = callers[service][rpc.name]
        scope = needed.get(service, {}).get(rpc.name, "")
        lines.append(
            f"| {rpc.name} | {scope} | {' | '.join('yes' if caller in allowed else '' for caller in CALLERS)} |"
        )
    return "\n".join(lines).replace("|\n## ", "|\n\n## ") + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
