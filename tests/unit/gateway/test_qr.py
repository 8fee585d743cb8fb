"""The QR code of an authenticator app."""

from __future__ import annotations

import pytest

from gateway.pages import qr

URI = "otpauth://totp/Repruv:mina%40example.org?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Repruv"


def test_secret_is_shown_in_groups() -> None:
    assert qr.secret_of(URI) == "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "javascript:alert(1)",
        "otpauth://hotp/x?secret=JBSWY3DPEHPK3PXP",
        "otpauth://totp/x?secret=<b>",
        "otpauth://totp/x",
        "otpauth://[/x",
        f"{URI}&x={'a' * 500}",
    ],
)
def test_invalid_uri_is_none(uri: str) -> None:
    assert qr.secret_of(uri) is None


def test_qr_code_complies_with_the_content_security_policy() -> None:
    drawn = qr.svg(URI.replace("mina", "</svg><script>alert(1)</script>"))
    assert drawn.startswith("<svg")
    assert "<script" not in drawn
    assert "style" not in drawn
