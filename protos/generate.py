"""Generate the Python stubs of every proto into `protos/gen`, or check that the committed ones are current."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).parent
GENERATED = ROOT / "gen"
ATTEMPTS = 2
"""A plugin of protoc sometimes crashes without cause, so one retry; a real error fails both times."""


def generate(target: Path) -> None:
    """Write the stubs of all protos below `target`, with type stubs for messages and services."""
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("repruv/**/*.proto"))
    includes = Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{ROOT}", f"-I{includes}", f"--python_out={target}", f"--grpc_python_out={target}"]
    # The plugins lie beside this interpreter, whether or not its environment is activated.
    binaries = Path(sys.executable).parent
    arguments += [f"--plugin={name}={binaries / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    arguments += [f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}"]
    if not any(protoc.main([*arguments, *sources]) == 0 for _ in range(ATTEMPTS)):
        raise SystemExit("protoc failed")


def differences() -> list[str]:
    """Name each file in which the committed stubs differ from what the protos give now."""
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        fresh = {str(path.relative_to(directory)) for path in Path(directory).rglob("*.py*")}
        committed = {
            str(path.relative_to(GENERATED)) for path in GENERATED.rglob("*.py*") if "__pycache__" not in str(path)
        }
        common = sorted(fresh & committed)
        _, different, unreadable = filecmp.cmpfiles(directory, GENERATED, common, shallow=False)
    return sorted(fresh ^ committed) + different + unreadable


def main() -> None:
    """Generate, or with `--check` exit with 1 if the committed stubs are not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if stale := differences():
            sys.exit(f"stubs are not current, run `make protos`: {', '.join(stale)}")
        return
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    generate(GENERATED)


if __name__ == "__main__":
    main()
