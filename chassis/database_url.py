"""The URL of a database, and what in it makes a connection encrypted and sure of whom it reached."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from chassis import tls

VERIFIED = "verify-full"
"""The one mode in which a connection cannot be read, changed, or answered by somebody else."""


def protect(url: str, certificate: tls.Certificate | None) -> str:
    """Give `url` with the certificate of this process and the will to verify the server's; what it says itself wins.

    The driver reads the files for each connection. As given without a certificate.
    """
    if certificate is None:
        return url
    parts = urlsplit(url)
    wanted = {
        "sslmode": VERIFIED,
        "sslrootcert": certificate.authority,
        "sslcert": certificate.certificate,
        "sslkey": certificate.key,
        "ssl_min_protocol_version": "TLSv1.3",
    }
    return urlunsplit(parts._replace(query=urlencode({**wanted, **dict(parse_qsl(parts.query))}, safe="/")))


def mode(url: str) -> str:
    """Give how a connection is protected, in the driver's word."""
    return dict(parse_qsl(urlsplit(url).query)).get("sslmode", VERIFIED)
