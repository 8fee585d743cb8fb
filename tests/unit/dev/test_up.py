"""`make up` names what is wrong with its settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev import __main__ as program
from dev.launcher.stack import ROOT


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GATEWAY_PORT", "abc"), ("GATEWAY_PORT", "65536"), ("SCALE", "demo-worker"), ("SCALE", "demo-worker=²")],
)
def test_a_mistake_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        program.main(["--data-dir", str(tmp_path), "up"])
    assert repr(value) in capsys.readouterr().err


_INTERRUPTED_AT_THE_IMPORT = """
import runpy, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "dev.launcher.up":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = ["up"]
runpy.run_module("dev", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_before_the_command_begins_prints_nothing() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_AT_THE_IMPORT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (program.INTERRUPTED, "", "")


def run(data_dir: Path, command: str) -> tuple[int, str]:
    """Run a command without a terminal; return its exit code and its output."""
    done = subprocess.run(
        [sys.executable, "-m", "dev", "--data-dir", data_dir, command],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_PORT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def test_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, output = run(file, "up")
    assert code == 1
    assert str(file) in output
    assert "Traceback" not in output


def test_reset_without_an_answer_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    code, output = run(tmp_path, "reset")
    assert code == 1
    assert "nothing was deleted" in output
    assert (tmp_path / "kept").exists()
