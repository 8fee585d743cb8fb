"""Security headers of every response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Encoded = Sequence[tuple[bytes, bytes]]
"""Headers with names in lower case."""

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
NO_REFERRER = {"Referrer-Policy": "no-referrer"}
"""For pages whose address contains a secret."""
SIGNED_OUT = {"Clear-Site-Data": '"cache", "storage"'}
"""For the answer that signs out: it also drops the pages that the browser keeps for Back. Not `"cookies"`, which would delete
those of every subdomain and the flash message of the next page; the session's cookie is deleted by name."""
_DENIED_FEATURES = (
    *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer", "microphone"),
    *("midi", "payment", "screen-wake-lock", "usb", "xr-spatial-tracking"),
)
_OWN_FEATURES = ("publickey-credentials-create", "publickey-credentials-get")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        [*(f"{feature}=()" for feature in _DENIED_FEATURES), *(f"{feature}=(self)" for feature in _OWN_FEATURES)]
    ),
    "Cache-Control": "no-store",
}
_STRICT_TRANSPORT = "max-age=31536000; includeSubDomains"


class SecurityHeaders:
    """Adds the headers to every response that does not set them itself."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        headers = {**_HEADERS, "Content-Security-Policy": CONTENT_POLICY}
        if https:
            headers["Content-Security-Policy"] += "; upgrade-insecure-requests"
            headers["Strict-Transport-Security"] = _STRICT_TRANSPORT
        self._headers = encode(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, adding(self._headers, send))


def encode(headers: Mapping[str, str]) -> Encoded:
    """Return headers as the server sends them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def adding(headers: Encoded, send: Send) -> Send:
    """Add headers to an answer that does not have them."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            # Once per answer, not a search for each header.
            response_headers = message.get("headers", [])
            names = {name for name, _ in response_headers}
            message["headers"] = [*response_headers, *(header for header in headers if header[0] not in names)]
        await send(message)

    return add
