"""`make previous`: run the previous release's integration tests on the schema of this one, as in a rolling deployment.

The code of `RELEASE` is exported, and the migrations that it lacks are put beside its own.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASE = "04c6eb8a492b8c7113af216366c893cee83edd53"
"""The commit that runs in production: a release sets it."""
TESTS = ("tests/integration/jobs", "tests/integration/demo", "tests/integration/auth")


def main() -> None:
    """Run the tests of the arguments, by default all integration tests of the services with a database."""
    if subprocess.run(["git", "cat-file", "-e", f"{RELEASE}^{{commit}}"], cwd=ROOT, capture_output=True).returncode:
        sys.exit(f"The history of this tree has no commit {RELEASE}: fetch it, for example by git fetch --unshallow.")
    with tempfile.TemporaryDirectory(prefix="previous-") as directory:
        tree = Path(directory)
        archive = subprocess.run(["git", "archive", RELEASE], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
        (tree / ".venv").symlink_to(ROOT / ".venv")
        print(f"{RELEASE[:8]} with the later migrations {', '.join(_add_migrations(tree)) or 'none'}", flush=True)
        environment = os.environ | {"PYTHONPATH": f"{tree}:{tree / 'protos/gen'}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
        sys.exit(subprocess.run(command, cwd=tree, env=environment, check=False).returncode)


def _add_migrations(tree: Path) -> list[str]:
    """Copy the migrations that the tree lacks; return their paths. Exits if one of its own was changed since."""
    added = []
    for path in sorted(ROOT.glob("services/*/migrations/[0-9]*.py")):
        name = path.relative_to(ROOT)
        if not (tree / name).exists():
            shutil.copy2(path, tree / name)
            added.append(str(name))
        elif not filecmp.cmp(path, tree / name, shallow=False):
            sys.exit(f"{name} was changed after its release {RELEASE}.")
    return added


if __name__ == "__main__":
    main()
