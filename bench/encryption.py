"""The cost of encryption between services: processor time of signed unary calls at both ends, with and without TLS.

python -m bench.encryption
"""

from __future__ import annotations

import base64
import secrets
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from chassis import identity, tls
from chassis.rpc import client, server
from dev.launcher import certificates
from repruv.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc

CALLS = 5_000
ROUNDS = 4
CONNECTIONS = 100
SERVICE = "repruv.jobs.v1.JobsService"


class Servicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """A service that answers at once."""

    async def GetJob(self, request: Any, context: Any) -> jobs_service_pb2.GetJobResponse:  # noqa: N802
        return jobs_service_pb2.GetJobResponse()


async def measure(
    signer: identity.Signer, trust: str, serves: tls.Certificate | None, calls: tls.Certificate | None
) -> tuple[float, float]:
    """Return the processor microseconds of a call, and the milliseconds of a new connection with one call."""
    service = server.Service(
        name=SERVICE,
        register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, Servicer()),  # type: ignore[abstract]
        callers={"GetJob": frozenset({"gateway"})},
    )
    async with server.serving(
        listen="127.0.0.1:0",
        services=[service],
        verifier=identity.Verifier(trust),
        translate=lambda error: None,
        certificate=serves,
    ) as port:
        call, request = client.Caller(signer), jobs_service_pb2.GetJobRequest()

        async def connect(times: int) -> None:
            channel = client.channel(f"127.0.0.1:{port}", service=SERVICE, certificate=calls)
            stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
            for _ in range(times):
                await call(stub.GetJob, request, timeout=5.0, user_token="")
            await channel.close()

        await connect(100)
        began = time.process_time()
        await connect(CALLS)
        ended = time.process_time()
        for _ in range(CONNECTIONS):
            await connect(1)
        return (ended - began) * 1e6 / CALLS, (time.process_time() - ended) * 1e3 / CONNECTIONS


async def main() -> None:
    """Measure alternately and print the minimum of each: the rest is noise."""
    seed = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    signer, trust = identity.Signer("gateway", seed), f"gateway:{identity.public_key(seed)}"
    with tempfile.TemporaryDirectory() as folder:
        certificates.make(Path(folder))
        jobs, gateway = (
            certificates.load_certificate(Path(folder), "jobs"),
            certificates.load_certificate(Path(folder), "gateway"),
        )
        plain, encrypted = [], []
        for _ in range(ROUNDS):
            plain.append(await measure(signer, trust, None, None))
            encrypted.append(await measure(signer, trust, jobs, gateway))
    for name, runs in (("plain", plain), ("encrypted", encrypted)):
        calls, connections = (min(column) for column in zip(*runs, strict=True))
        print(f"{name:<10} {calls:6.0f} us of processor a call, both ends; {connections:5.1f} ms a new connection")


if __name__ == "__main__":
    uvloop.run(main())
