"""Log lines."""

from __future__ import annotations

import logging

import pytest

from chassis import logs


@pytest.mark.parametrize("sent", ["/x\n12:00:00 error   forged", "/x\r\nforged", "/x\x1b[2Jforged", "/x\u2028forged"])
def test_text_of_a_client_stays_in_its_field(sent: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure("gateway", level="info", form="text")
        logging.getLogger("gateway").info("request", extra={"path": sent, "status": 404})
    finally:
        root.handlers, root.level = before, level
    line, *others = capsys.readouterr().out.splitlines()
    assert others == []
    assert line.endswith(" status=404")
    assert line.removesuffix("\n").isprintable()
    assert "forged" in line
