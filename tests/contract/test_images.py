"""Each image has what its code imports: the folders that its Dockerfile copies, and packages of its requirements."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = {path.parent.name: path for path in (*ROOT.glob("*/Dockerfile"), *ROOT.glob("services/*/Dockerfile"))}
SHARED = ("protos/gen", "chassis", "worker", "lifecycle")
"""Of these folders an image runs what the code of its own ones imports."""
NOT_IMPORTED = {
    "gateway": {"chassis.driver.Connection", "chassis.tracing.sql", "chassis.migrations"},
    "provision": {"chassis.metrics", "chassis.rpc.event_engine", "chassis.tracing.spans", "uvloop"},
}
"""What functions import that an image does not call: those for a database, and those for processes that serve."""

Import = tuple[str, bool]
"""The name of what is imported, and whether a function imports it."""


@functools.cache
def imports(path: Path) -> tuple[Import, ...]:
    """Return what a file imports, except for types only."""
    return tuple(_imports(ast.parse(path.read_text()), is_local=False))


def _imports(node: ast.AST, *, is_local: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, is_local) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((f"{child.module}.{alias.name}", is_local) for alias in child.names)
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, is_local=is_local or is_function)


def modules(name: str) -> Iterator[Path]:
    """Return the files that run when something of ours is imported: its module, and the packages around it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        stem = ROOT.joinpath(*parts[:end])
        yield from (path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists())


def reached(image: str, roots: list[Path]) -> tuple[set[Path], dict[str, Path]]:
    """Return our files that these run, and the packages of others, each with a file that imports it."""
    files, packages, waiting = set[Path](), dict[str, Path](), roots
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        for name, is_local in imports(path):
            top = name.partition(".")[0]
            if is_local and name in NOT_IMPORTED.get(image, ()):
                continue
            if (ROOT / top).is_dir():
                waiting += modules(name)
            elif top != "repruv" and top not in sys.stdlib_module_names:
                packages.setdefault(top, path)
    return files, packages


@pytest.mark.parametrize("image", DOCKERFILES)
def test_image_has_the_bytecode_of_our_code(image: str, tmp_path: Path) -> None:
    text = DOCKERFILES[image].read_text()
    [command] = re.findall(r"^RUN python (-m compileall .*)$", text[text.rindex("COPY ") :], re.MULTILINE)
    assert text.index(command) < text.index("\nUSER ")
    shutil.copytree(ROOT / "chassis", tmp_path / "chassis", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, *command.split()], cwd=tmp_path, check=True)
    for path in (tmp_path / "chassis").rglob("*.py"):
        os.utime(path, (0, 0))  # builders may change times; bytecode stays valid
    loaded = subprocess.run(
        [sys.executable, "-v", "-c", "import chassis.ids"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stderr
    assert re.search(rf"matches {tmp_path}/chassis/ids.py", loaded)


@pytest.mark.parametrize("image", DOCKERFILES)
def test_image_has_what_its_code_imports(image: str) -> None:
    copied = re.findall(r"^COPY (?!--)(\S+) \1$", DOCKERFILES[image].read_text(), re.MULTILINE)
    own = [ROOT / folder for folder in copied if folder not in SHARED]
    files, packages = reached(image, [path for folder in own for path in folder.rglob("*.py")])
    inside = [ROOT / folder for folder in copied]
    assert {str(path) for path in files if not any(path.is_relative_to(folder) for folder in inside)} == set()

    locked = (ROOT / "requirements" / f"{image}.txt").read_text()
    installed = set(re.findall(r"^([a-z0-9-]+)(?:\[\S+\])?==", locked, re.MULTILINE))
    providers = importlib.metadata.packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)} imports {package}"
        for package, path in packages.items()
        if installed.isdisjoint(re.sub(r"[-_.]+", "-", name).lower() for name in providers[package])
    }
    assert missing == set()
