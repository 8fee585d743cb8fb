"""Which service may use which rpc: the tables of all servicers, discovered by a file search, beside all rpcs of the protos.

`python -m tests.contract.callers` writes docs/callers.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

from provision.services import CALLERS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "callers.md"

HEAD = """# Who may call what

The tables `CALLERS` of all servicers, written by `python -m tests.contract.callers`. One test compares this page with the tables,
another one tries every rpc as every other service. A call is accepted if its certificate and its signature name the same service,
the signature is for the called service, and the caller is in the rpc's row. Otherwise it fails with PERMISSION_DENIED
`caller_not_allowed`. After that each servicer checks the user of the call and what that user may see.
"""


def tables() -> dict[str, Mapping[str, Container[str]]]:
    """Return the table of each service, by its full proto name."""
    allowed_callers = {}
    for path in sorted((ROOT / "services").rglob("*servicer.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if hasattr(module, "CALLERS"):
            allowed_callers[module.SERVICE] = module.CALLERS
    return allowed_callers


def rpcs() -> Iterator[MethodDescriptor]:
    """Yield every rpc of the protos."""
    for path in sorted((ROOT / "protos/gen/repruv").rglob("*_service_pb2.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT / "protos/gen").with_suffix("").parts))
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def page() -> str:
    """Write the page of the documentation."""
    lines = [HEAD]
    callers, last = tables(), ""
    for rpc in rpcs():
        service = rpc.containing_service.full_name
        if service != last:
            lines += [f"## {service}\n", f"| rpc | {' | '.join(CALLERS)} |", f"|---|{'---|' * len(CALLERS)}"]
        last = service
        allowed = callers[service][rpc.name]
        lines.append(f"| {rpc.name} | {' | '.join('yes' if caller in allowed else '' for caller in CALLERS)} |")
    return "\n".join(lines).replace("|\n## ", "|\n\n## ") + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
