"""Database URLs and their TLS parameters."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from chassis import tls

VERIFIED = "verify-full"
"""The only mode that encrypts and verifies host name and certificate of the server."""


def protect(url: str, certificate: tls.Certificate | None) -> str:
    """Return `url` with the certificate of this process and require server verification. Parameters in the URL take precedence.

    The driver reads the files for each connection. Without a certificate, `url` is returned unchanged.
    """
    if certificate is None:
        return url
    parts = urlsplit(url)
    parameters = {
        "sslmode": VERIFIED,
        "sslrootcert": certificate.authority,
        "sslcert": certificate.certificate,
        "sslkey": certificate.key,
        "ssl_min_protocol_version": "TLSv1.3",
    }
    return urlunsplit(parts._replace(query=urlencode({**parameters, **dict(parse_qsl(parts.query))}, safe="/")))


def mode(url: str) -> str:
    """Return the `sslmode` of a URL."""
    return dict(parse_qsl(urlsplit(url).query)).get("sslmode", VERIFIED)
