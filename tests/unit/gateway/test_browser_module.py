"""The browser module has tests of its own, in its own language."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

TESTS = pathlib.Path(__file__).parents[2] / "browser_module"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_browser_module() -> None:
    done = subprocess.run(["node", "--test", str(TESTS)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
