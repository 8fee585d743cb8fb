"""`make mutants`: apply each patch of `mutants.toml` to a copy of the tree and run the tests that must fail there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 300
TESTS_FAILED = 1
"""The exit code of pytest when tests have failed; others say that no test ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A guard, the patch that removes it, and the tests of which one must fail without it."""

    name: str
    guard: str
    file: str
    old: str
    new: str
    tests: list[str]
    """pytest arguments."""


def read() -> list[Mutant]:
    """Return all mutants."""
    return [Mutant(**entry) for entry in tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())["mutant"]]


def main() -> None:
    """Run the mutants whose names contain one of the arguments, or all; exit with 1 if one survives."""
    chosen = [mutant for mutant in read() if not sys.argv[1:] or any(word in mutant.name for word in sys.argv[1:])]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tree = Path(directory)
        _copy(tree)
        for mutant in chosen:
            begin = time.monotonic()
            verdict = _run(tree, mutant)
            if verdict != "red":
                survivors.append(mutant.name)
            print(f"{verdict:14} {time.monotonic() - begin:5.0f} s  {mutant.name}: {mutant.guard}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants are caught")
    sys.exit(1 if survivors else 0)


def _copy(tree: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    (tree / ".venv").symlink_to(ROOT / ".venv")


def _run(tree: Path, mutant: Mutant) -> str:
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        return "does not apply"
    path.write_text(text.replace(mutant.old, mutant.new))
    environment = os.environ | {"PYTHONPATH": f"{tree}:{tree / 'protos/gen'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
    try:
        code = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return "timed out"
    finally:
        path.write_text(text)
    return {0: "SURVIVED", TESTS_FAILED: "red"}.get(code, "no test ran")


if __name__ == "__main__":
    main()
