"""A folder's README names every file of the folder, and every file that it names exists. In tools the docstrings suffice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("services", "gateway", "worker", "lifecycle", "chassis", "provision", "dev", "bench", "protos")
FOLDERS = sorted(
    path.parent.relative_to(ROOT).as_posix() for part in PARTS for path in (ROOT / part).rglob("README.md")
)
MODULES = {path.relative_to(ROOT).as_posix() for part in (*PARTS, "tests") for path in (ROOT / part).rglob("*.py")}
TOOLS = {"bench", "dev"}
"""Parts whose READMEs name the folders only: the first line of each module says what it is for."""
NAME = re.compile(r"[`(\[/]([A-Za-z_][\w/]*\.py)\b")


def names_in(folder: Path) -> set[str]:
    """Return the modules and packages of the folder that a README must name."""
    modules = set() if folder.name in TOOLS else {path.name for path in folder.glob("*.py")}
    packages = {path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    return (modules | packages) - {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_readme_and_folder_agree(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text()
    missing = [name for name in sorted(names_in(ROOT / folder)) if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert missing == [], "the README does not name them"
    unknown = [
        name for name in NAME.findall(text) if not any(path == name or path.endswith(f"/{name}") for path in MODULES)
    ]
    assert unknown == [], "the README names them, but they do not exist"
