"""Check whether a process is ready: `python -m chassis.probe grpc://127.0.0.1:50051` (or http://…/readyz); exit 0 if so.

Presents the certificate that TLS_CERTIFICATE, TLS_KEY and TLS_CA name, if any. It is the health check of the containers and
of the local launcher.
"""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import urlsplit

from chassis import tls

TIMEOUT_SECONDS = 2.0


def is_ready(url: str, timeout: float = TIMEOUT_SECONDS, *, certificate: tls.Certificate | None = None) -> bool:
    """Return whether the process at `url` (scheme grpc or http) reports readiness within `timeout` seconds."""
    parts = urlsplit(url)
    if parts.scheme == "grpc":
        return _is_serving(parts.netloc, timeout, certificate)
    if parts.scheme == "http":
        return _answers_ok(parts.hostname or "", parts.port or 80, parts.path or "/", timeout)
    raise ValueError(f"cannot probe {url!r}: the scheme must be grpc or http")


def _is_serving(target: str, timeout: float, certificate: tls.Certificate | None) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from chassis.rpc import credentials

    # A pool of its own: otherwise the pause after an earlier failed connect would be shared between probes.
    options = [("grpc.use_local_subchannel_pool", 1)]
    try:
        encrypted = credentials.for_channel(certificate.material()) if certificate else None
    except tls.Unusable:
        return False
    with (
        grpc.secure_channel(target, encrypted, options=options)
        if encrypted
        else grpc.insecure_channel(target, options=options)
    ) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in the types
            answer = check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _answers_ok(host: str, port: int, path: str, timeout: float) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(sys.argv[1], certificate=tls.from_environment(os.environ)) else 1)
