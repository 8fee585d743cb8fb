"""gRPC credentials from the certificate of a process, and the identity of the peer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from chassis import tls

_URI = "peer_spiffe_id"


def for_server(certificate: tls.Certificate) -> grpc.ServerCredentials:
    """Return server credentials that follow the files of `certificate`. Clients need a certificate too."""
    used: list[tls.Material] = [certificate.material()]

    def renewed() -> Any:
        # Called for every connection, by a thread of gRPC. None means unchanged.
        material = certificate.material()
        if material is used[0]:
            return None
        used[0] = material
        return _configuration(material)

    return grpc.dynamic_ssl_server_credentials(_configuration(used[0]), renewed, require_client_authentication=True)


def for_channel(material: tls.Material) -> grpc.ChannelCredentials:
    """Return client credentials with this certificate."""
    return grpc.ssl_channel_credentials(
        root_certificates=material.authority, private_key=material.key, certificate_chain=material.certificate
    )


def peer(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """Return the service named by the certificate of the peer; empty without a certificate or a name."""
    uris = list(auth_context.get(_URI, ()))
    return tls.service_of(uris[0].decode()) if len(uris) == 1 else ""


def _configuration(material: tls.Material) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.authority
    )
