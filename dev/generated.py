"""`python -m dev.generated` writes the files that follow from others; with `--check` it exits with 1 if one is not current.

The stubs of the protos have a script of their own (protos/generate.py): they are a folder, and need only protoc.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from dev import asyncapi, chart, kind_names
from gateway import generate_types, openapi

FILES: dict[Path, Callable[[], str]] = {
    generate_types.TARGET: generate_types.generate,
    asyncapi.TARGET: asyncapi.generate,
    openapi.ASYNCAPI: asyncapi.generate,
    chart.TARGET: chart.generate,
    kind_names.TARGET: kind_names.generate,
    **chart.copies(),
}


def stale() -> list[str]:
    """Name the files whose committed content is not what their generator returns."""
    return [path.name for path, generate in FILES.items() if not path.exists() or path.read_text() != generate()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.generated", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        if names := stale():
            sys.exit(f"not current, run `make protos`: {', '.join(names)}")
        return
    for path, generate in FILES.items():
        path.write_text(generate())


if __name__ == "__main__":
    main()
