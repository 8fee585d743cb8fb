"""`make previous`: run the previous release's integration tests on the schema of this one, as in a rolling deployment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.previous import release

TESTS = ("tests/integration/jobs", "tests/integration/demo", "tests/integration/auth")


def main() -> None:
    """Run the tests of the arguments, by default all integration tests of the services with a database."""
    with tempfile.TemporaryDirectory(prefix="previous-") as directory:
        tree = Path(directory)
        try:
            added = release.export(tree)
        except release.NotExported as error:
            sys.exit(str(error))
        print(f"{release.COMMIT[:8]} with the later migrations {', '.join(added) or 'none'}", flush=True)
        environment = os.environ | release.variables(tree) | {"PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        # A process for each folder, as in `make test`: tests of one leave event loops behind that fixtures of another miss.
        codes = [
            subprocess.run([*command, *paths], cwd=tree, env=environment, check=False).returncode
            for paths in ([sys.argv[1:]] if sys.argv[1:] else [[folder] for folder in TESTS])
        ]
        sys.exit(max(codes))


if __name__ == "__main__":
    main()
