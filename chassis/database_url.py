"""Database URLs: their TLS parameters, several hosts of which one is the primary, and poolers in front of them."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from chassis import tls

VERIFIED = "verify-full"
"""The only mode that encrypts and verifies host name and certificate of the server."""

POOLER = "pooler"
"""Our own parameter, which the driver does not know."""


def complete(url: str, certificate: tls.Certificate | None) -> str:
    """Return `url` with what every connection needs. Parameters in the URL take precedence.

    Connections lead to a server that accepts writes: of several hosts to the primary. With the certificate of this
    process the server is verified; the driver reads the files for each connection.
    """
    parameters = {"target_session_attrs": "read-write"}
    if certificate is not None:
        parameters |= {
            "sslmode": VERIFIED,
            "sslrootcert": certificate.authority,
            "sslcert": certificate.certificate,
            "sslkey": certificate.key,
            "ssl_min_protocol_version": "TLSv1.3",
        }
    parts = urlsplit(url)
    parameters |= dict(parse_qsl(parts.query))
    parameters.pop(POOLER, None)
    return _join(parts._replace(scheme="postgresql", query=urlencode(parameters, safe="/")))


def is_pooled(url: str) -> bool:
    """Return whether a pooler gives each transaction any connection, as `pooler=transaction` in the URL says.

    Such a connection keeps nothing from one transaction to the next: no prepared statement and no setting.
    """
    return dict(parse_qsl(urlsplit(url).query)).get(POOLER) == "transaction"


def for_sqlalchemy(url: str) -> str:
    """Return `url` as SQLAlchemy reads it: with the driver psycopg, and several hosts as parameters."""
    parts = urlsplit(url)
    user, separator, hosts = parts.netloc.rpartition("@")
    query = parts.query
    if "," in hosts:
        names, ports = zip(*map(_split_port, hosts.split(",")), strict=True)
        query = f"host={','.join(names)}&port={','.join(ports)}&{query}".rstrip("&")
        hosts = ""
    return _join(parts._replace(scheme="postgresql+psycopg", netloc=f"{user}{separator}{hosts}", query=query))


def mode(url: str) -> str:
    """Return the `sslmode` of a URL."""
    return dict(parse_qsl(urlsplit(url).query)).get("sslmode", VERIFIED)


def _split_port(host: str) -> tuple[str, str]:
    """Return the name or address of a host, and its port; without one an empty text, for the default."""
    address, separator, port = host.rpartition(":")
    if not separator or host.endswith("]"):
        address, port = host, ""
    return address.strip("[]"), port


def _join(parts: SplitResult) -> str:
    """Return a URL with `//` also if it names no host, as that of a socket: `postgresql:///database?host=/run`."""
    url = urlunsplit(parts)
    return url if parts.netloc else url.replace(":", "://", 1)
