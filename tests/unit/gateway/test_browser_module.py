"""The browser module has tests of its own, in its own language."""

from __future__ import annotations

import pathlib
import subprocess

import playwright

TESTS = pathlib.Path(__file__).parents[2] / "browser_module"
# Playwright's wheel brings the node that it runs on.
NODE = pathlib.Path(playwright.__file__).parent / "driver" / "node"


def test_the_browser_module() -> None:
    done = subprocess.run([NODE, "--test", TESTS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
