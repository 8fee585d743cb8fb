"""`make up` names what is wrong with its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import __main__ as program


@pytest.mark.parametrize(
    ("variable", "value"), [("GATEWAY_PORT", "abc"), ("GATEWAY_PORT", "65536"), ("SCALE", "demo-worker")]
)
def test_a_mistake_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        program.main(["--data-dir", str(tmp_path), "up"])
    assert repr(value) in capsys.readouterr().err
