"""The QR code of an authenticator app's secret, as inline SVG: no script, no style, no request."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import segno
from markupsafe import Markup

MAX_URI = 512
_SECRET = re.compile(r"[A-Z2-7]{16,64}")


def secret_of(uri: str) -> str | None:
    """Return the secret in an `otpauth://` URI in groups of four, as people type it; None if the URI is invalid."""
    if len(uri) > MAX_URI:
        return None
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    secret = parse_qs(parts.query).get("secret", [""])[0].rstrip("=")
    if parts.scheme != "otpauth" or parts.netloc != "totp" or not _SECRET.fullmatch(secret):
        return None
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def svg(uri: str) -> Markup:
    """Draw a URI. The background is white in dark mode too, for cameras."""
    code = segno.make(uri, error="m", micro=False)
    image = code.svg_inline(border=4, dark="#13262a", light="#fff", omitsize=True, svgclass="qr__image", lineclass=None)
    return Markup(image)  # noqa: S704 - segno writes numbers and the colours above, nothing of the URI
