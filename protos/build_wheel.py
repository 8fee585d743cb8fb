"""Build the wheel `repruv-protos`: `python protos/build_wheel.py dist`. The same tree gives the same bytes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import build_meta

ROOT = Path(__file__).parent
CLIENT = "repruv_client"
TIMESTAMP = "315532800"
"""1980-01-01, the earliest time that a zip archive can hold: the time of the build must not be in the wheel."""


def build(target: Path) -> Path:
    """Build the wheel into `target` and return its path."""
    target = target.absolute()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        _stage(Path(directory))
        os.environ["SOURCE_DATE_EPOCH"] = TIMESTAMP
        os.umask(0o022)
        with contextlib.redirect_stdout(io.StringIO()):
            name: str = build_meta.build_wheel(str(target))
    return target / name


def _stage(folder: Path) -> None:
    """Lay out the sources of the wheel, whatever the modes of the files in the checkout."""
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gen" / "repruv", folder / "repruv", ignore=hidden)
    shutil.copytree(ROOT / "repruv", folder / "repruv", dirs_exist_ok=True)
    shutil.copytree(ROOT / "client" / CLIENT, folder / CLIENT, ignore=hidden)
    shutil.copy(ROOT / "pyproject.toml", folder)
    page = (ROOT.parent / "docs" / "calling-us.md").read_text().partition("<!-- generated -->")[0]
    (folder / "README.md").write_text(re.sub(r"\[([^]]+)\]\((?!https:)[^)]+\)", r"\1", page))
    # `repruv` is a namespace package without files of its own, so each package below it says that it has types (PEP 561).
    for package in (CLIENT, *(f"repruv/{path.name}" for path in (folder / "repruv").iterdir())):
        (folder / package / "py.typed").touch()
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.stdout.write(f"{build(Path(sys.argv[1]))}\n")
