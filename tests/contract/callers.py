"""Which service may use which rpc: the tables of all servicers, found and not listed, beside all rpcs of the protos.

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

The tables `CALLERS` of all servicers, as `python -m tests.contract.callers` writes them; a test holds this page to them, and
another one tries every rpc as everybody else. A call is let in when its certificate and its signature name the same service,
the signature is for the service that is called, and the service is in the row. Whoever is not gets PERMISSION_DENIED
`caller_not_allowed`. For whom a call is made, and what that user may see, each servicer judges after that.
"""


def tables() -> dict[str, Mapping[str, Container[str]]]:
    """Give the table of each service, by its full proto name."""
    found = {}
    for path in sorted((ROOT / "services").rglob("*servicer.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if hasattr(module, "CALLERS"):
            found[module.SERVICE] = module.CALLERS
    return found


def rpcs() -> Iterator[MethodDescriptor]:
    """Give every rpc of the protos."""
    for path in sorted((ROOT / "protos/gen/repruv").rglob("*_service_pb2.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT / "protos/gen").with_suffix("").parts))
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def page() -> str:
    """Write the page of the documentation."""
    lines = [HEAD]
    found, last = tables(), ""
    for rpc in rpcs():
        service = rpc.containing_service.full_name
        if service != last:
            lines += [f"## {service}\n", f"| rpc | {' | '.join(CALLERS)} |", f"|---|{'---|' * len(CALLERS)}"]
        last = service
        allowed = found[service][rpc.name]
        lines.append(f"| {rpc.name} | {' | '.join('yes' if caller in allowed else '' for caller in CALLERS)} |")
    return "\n".join(lines).replace("|\n## ", "|\n\n## ") + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
