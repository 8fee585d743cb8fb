"""The wheel of the protos: complete, typed, and the same bytes from the same tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from gateway.app import VERSION

ROOT = Path(__file__).parents[2]


def build(tree: Path, target: Path) -> bytes:
    subprocess.run([sys.executable, "protos/build_wheel.py", target], cwd=tree, check=True, capture_output=True)
    return (target / f"repruv_protos-{VERSION}-py3-none-any.whl").read_bytes()


def test_wheel_is_reproducible_and_has_stubs_and_types(tmp_path: Path) -> None:
    wheel = build(ROOT, tmp_path / "here")
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "protos", copy / "protos", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", copy / "docs")
    for path in copy.rglob("*.py*"):
        path.chmod(0o600)
        os.utime(path, (0, 0))
    assert build(copy, tmp_path / "there") == wheel

    names = set(zipfile.ZipFile(tmp_path / "here" / f"repruv_protos-{VERSION}-py3-none-any.whl").namelist())
    generated = {path.relative_to(ROOT / "protos/gen").as_posix() for path in (ROOT / "protos/gen").rglob("*.py*")}
    assert {name for name in generated if "__pycache__" not in name} <= names
    assert {"repruv_client/py.typed", *(f"repruv/{name}/py.typed" for name in ("auth", "demo", "jobs"))} <= names
