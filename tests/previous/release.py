"""The code of the previous release, with the migrations of this one."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMIT = "f486d7b04413e41d3ec69aa6bf3d3fbc1b9edc26"
"""The commit that runs in production: a release sets it."""


class NotExported(RuntimeError):
    """The release could not be exported."""


def export(tree: Path) -> list[str]:
    """Export the release to a directory, with the migrations that it lacks; return their paths. Raises `NotExported`."""
    if subprocess.run(["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, capture_output=True).returncode:
        raise NotExported(
            f"The history of this tree has no commit {COMMIT}: fetch it, for example by git fetch --unshallow."
        )
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    return _add_migrations(tree)


def variables(tree: Path) -> dict[str, str]:
    """Return the environment variables by which Python runs the code of a tree, whatever the working directory."""
    return {"PYTHONPATH": f"{tree}:{tree / 'protos/gen'}", "PYTHONSAFEPATH": "1"}


def _add_migrations(tree: Path) -> list[str]:
    added = []
    for path in sorted(ROOT.glob("services/*/migrations/[0-9]*.py")):
        name = path.relative_to(ROOT)
        if not (tree / name).exists():
            shutil.copy2(path, tree / name)
            added.append(str(name))
        elif not filecmp.cmp(path, tree / name, shallow=False):
            raise NotExported(f"{name} was changed after its release {COMMIT}.")
    return added
