"""Committed stubs and generated files are current, and the protos pass the linter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dev import generated
from gateway import labels
from services.auth.notifications import kind_names

PROTOS = Path(__file__).parents[2] / "protos"


def generator() -> ModuleType:
    """Load protos/generate.py, which is a script and not in a package."""
    spec = importlib.util.spec_from_file_location("generate", PROTOS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_stubs_are_current() -> None:
    assert generator().differences() == []


def test_generated_files_are_current() -> None:
    assert generated.stale() == [], "make protos"


@pytest.mark.parametrize("kind", ["demo.enable", "billing.send_invoices", "billing.send_invoices.undo", "billing"])
def test_emails_name_kinds_as_pages_do(kind: str) -> None:
    assert kind_names.kind(kind) == labels.kind(kind)


def test_protos_pass_buf_lint() -> None:
    buf = Path(sys.executable).parent / "buf"
    linted = subprocess.run([buf, "lint"], cwd=PROTOS, capture_output=True, text=True, timeout=60, check=False)
    assert linted.stdout == ""
    assert linted.returncode == 0
