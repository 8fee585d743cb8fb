"""The browser module: its JavaScript tests, and its size."""

from __future__ import annotations

import gzip
import pathlib
import re
import subprocess
import sys

import playwright
import pytest

ROOT = pathlib.Path(__file__).parents[3]
TESTS = ROOT / "tests" / "javascript"
STATIC = ROOT / "gateway" / "static"
FRONTEND = ROOT / "docs" / "frontend.md"
MODULE = [STATIC / "repruv.js", *sorted((STATIC / "repruv").glob("*.js"))]
# Playwright's wheel brings the node that it runs on. Each tab of a test is a context with modules of its own.
NODE = pathlib.Path(playwright.__file__).parent / "driver" / "node"
NODE_OPTIONS = ["--experimental-vm-modules", "--no-warnings"]
MAX_BYTES = 10_000
_COMMENTS = re.compile(r"^\s*/\*[\s\S]*?\*/\s*?$|^\s*//.*$|(?<=[;,{}(]) // .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def react() -> None:
    """React at the version of the lock file, downloaded once."""
    installed = TESTS / "node_modules" / ".package-lock.json"
    lock = TESTS / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm = [str(pathlib.Path(sys.executable).with_name("npm")), "ci", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=TESTS, capture_output=True, timeout=280, check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("react")
def test_browser_module_passes_its_tests() -> None:
    tests = sorted(TESTS.glob("*.test.mjs"))
    done = subprocess.run(
        [NODE, *NODE_OPTIONS, "--test", *tests], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_browser_module_is_small() -> None:
    # Less than any minifier would do: comments and indentation go, names stay; each file is compressed separately.
    plain = [re.sub(r"\n\s+", "\n", _COMMENTS.sub("", path.read_text())) for path in MODULE]
    assert sum(len(gzip.compress(text.encode(), mtime=0)) for text in plain) <= MAX_BYTES


def test_documented_error_codes_exist() -> None:
    table = FRONTEND.read_text().partition("## Errors")[2].partition("|---|")[2]
    cells = [line.split("|")[2] for line in table.splitlines() if line.count("|") == 4]
    codes = re.findall(r"`([a-z_]+)`", "".join(cells))
    sources = [path.read_text() for room in ("gateway", "services", "chassis") for path in (ROOT / room).rglob("*.py")]
    assert len(codes) > 10
    assert [code for code in codes if not any(f'"{code}"' in source for source in sources)] == []
