"""Encrypted connections between services: certificates on both ends that match the signatures."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import errors, identity, tls
from chassis.rpc import client, credentials, metadata, server
from dev.launcher import certificates as local
from provision import certificates
from repruv.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc

SERVICE = "repruv.jobs.v1.JobsService"
Certificates = Callable[[str], tls.Certificate]
Signers = Callable[[str], identity.Signer]


class Servicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Returns the certificate of the caller."""

    def __init__(self) -> None:
        self.certificates: list[bytes] = []

    async def GetJob(self, request: Any, context: Any) -> jobs_service_pb2.GetJobResponse:  # noqa: N802
        self.certificates += context.auth_context()["x509_pem_cert"]
        return jobs_service_pb2.GetJobResponse()

    async def WatchJob(self, request: Any, context: Any) -> AsyncGenerator[jobs_service_pb2.WatchJobResponse, None]:  # noqa: N802
        while True:
            yield jobs_service_pb2.WatchJobResponse()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(certificate: tls.Certificate, verifier: identity.Verifier) -> AsyncIterator[tuple[str, Servicer]]:
    """Serve the jobs service's GetJob and WatchJob to demo and gateway."""
    servicer = Servicer()  # type: ignore[abstract] # the rest is not called
    service = server.Service(
        name=SERVICE,
        register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, servicer),
        callers={"GetJob": frozenset({"demo", "gateway"}), "WatchJob": frozenset({"gateway"})},
    )
    async with server.serving(
        listen="127.0.0.1:0",
        services=[service],
        verifier=verifier,
        translate=lambda error: None,
        certificate=certificate,
    ) as port:
        yield f"127.0.0.1:{port}", servicer


@pytest.fixture
async def target(certificate: Certificates, verifier: identity.Verifier) -> AsyncIterator[str]:
    """The target of a jobs server with its certificate."""
    async with serving(certificate("jobs"), verifier) as (target, _):
        yield target


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """Certificates of a separate authority."""
    local.make(tmp_path)
    return tmp_path


async def get_job(target: str, certificate: tls.Certificate | None, signer: identity.Signer) -> None:
    """Make one call over a new connection."""
    channel = client.channel(target, service=SERVICE, certificate=certificate)
    try:
        stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        request = jobs_service_pb2.GetJobRequest()
        await client.Caller(signer)(stub.GetJob, request, timeout=60.0, user_token="", wait_for_ready=False)
    finally:
        await channel.close()


async def test_a_service_calls_with_its_certificate(target: str, certificate: Certificates, signer: Signers) -> None:
    await get_job(target, certificate("demo"), signer("demo"))


async def test_call_without_a_certificate_is_refused(target: str, signer: Signers) -> None:
    with pytest.raises(errors.Unavailable):
        await get_job(target, None, signer("demo"))
    async with grpc.aio.insecure_channel(target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as excinfo:
            await health.Check(health_pb2.HealthCheckRequest(), timeout=60.0)
    assert excinfo.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_encryption_without_a_client_certificate_is_refused(
    target: str, certificate: Certificates, signer: Signers
) -> None:
    roots = certificate("demo").material().authority
    async with grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots)) as channel:
        stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        sent = ((metadata.AUTHORIZATION, f"Bearer {signer('demo').caller_token('jobs')}"),)
        with pytest.raises(grpc.aio.AioRpcError) as excinfo:
            await stub.GetJob(jobs_service_pb2.GetJobRequest(), timeout=60.0, metadata=sent)
    assert excinfo.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_certificate_of_another_authority_is_refused(
    target: str, certificate: Certificates, own_folder: Path, signer: Signers
) -> None:
    foreign = local.load_certificate(own_folder, "demo")
    with pytest.raises(errors.Unavailable):
        await get_job(target, foreign, signer("demo"))
    # The same, but believing the server: then it is the server that refuses.
    shutil.copy(certificate("demo").authority, foreign.authority)
    with pytest.raises(errors.Unavailable):
        await get_job(target, local.load_certificate(own_folder, "demo"), signer("demo"))


async def test_an_expired_certificate_is_refused(
    own_folder: Path, verifier: identity.Verifier, signer: Signers
) -> None:
    async with serving(local.load_certificate(own_folder, "jobs"), verifier) as (target, _):
        await get_job(target, local.load_certificate(own_folder, "demo"), signer("demo"))
        shutil.rmtree(own_folder / "certificates/demo")
        long_ago = datetime.now(UTC) - timedelta(days=certificates.LEAF_DAYS + 1)
        certificates.make(own_folder / "certificates", now=long_ago)
        with pytest.raises(errors.Unavailable):
            await get_job(target, local.load_certificate(own_folder, "demo"), signer("demo"))


@pytest.mark.parametrize("service_name", ["demo", "auth", "provision"])
async def test_a_certificate_and_a_signature_must_agree(
    target: str, certificate: Certificates, signer: Signers, service_name: str
) -> None:
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await get_job(target, certificate(service_name), signer("gateway"))
    assert excinfo.value.code == "certificate_mismatch"


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_certificate_of_a_server_carries_no_calls(
    target: str, certificate: Certificates, signer: Signers, server: str
) -> None:
    # Servers are clients too, but of each other only.
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await get_job(target, certificate(server), signer("demo"))
    assert excinfo.value.code == "certificate_mismatch"


@pytest.mark.parametrize("impostor", ["demo", "gateway", "nats"])
async def test_server_with_the_certificate_of_another_service_is_refused(
    certificate: Certificates, verifier: identity.Verifier, signer: Signers, impostor: str
) -> None:
    async with serving(certificate(impostor), verifier) as (target, _):
        with pytest.raises(errors.Unavailable):
            await get_job(target, certificate("gateway"), signer("gateway"))


async def test_signature_is_valid_only_for_the_called_service(
    target: str, certificate: Certificates, signer: Signers
) -> None:
    identity_files = certificate("demo").material()
    options = [("grpc.ssl_target_name_override", "jobs")]
    async with grpc.aio.secure_channel(target, credentials.for_channel(identity_files), options=options) as channel:
        stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        for audience, code in (("jobs", None), ("auth", grpc.StatusCode.UNAVAILABLE)):
            sent = ((metadata.AUTHORIZATION, f"Bearer {signer('demo').caller_token(audience)}"),)
            call = stub.GetJob(jobs_service_pb2.GetJobRequest(), timeout=60.0, metadata=sent)
            if code is None:
                await call
                continue
            with pytest.raises(grpc.aio.AioRpcError) as excinfo:
                await call
            assert excinfo.value.code() is code


async def test_identity_key_is_replaced_without_downtime(
    certificate: Certificates, seeds: dict[str, str], trusted_identity_keys: str, signer: Signers
) -> None:
    new_seed = "new-identity-of-demo-".ljust(43, "A")
    new = identity.Signer("demo", new_seed)
    trusted_keys = f"{trusted_identity_keys},demo:{identity.public_key(new_seed)}"
    async with serving(certificate("jobs"), identity.Verifier(trusted_keys)) as (target, _):
        for key in (signer("demo"), new):
            await get_job(target, certificate("demo"), key)
    after = trusted_keys.replace(f"demo:{identity.public_key(seeds['demo'])},", "")
    async with serving(certificate("jobs"), identity.Verifier(after)) as (target, _):
        await get_job(target, certificate("demo"), new)
        with pytest.raises(errors.Unavailable) as excinfo:
            await get_job(target, certificate("demo"), signer("demo"))
        assert excinfo.value.code == "identity_refused"


async def test_certificates_are_replaced_while_calls_run(
    own_folder: Path,
    verifier: identity.Verifier,
    signer: Signers,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    async with serving(local.load_certificate(own_folder, "jobs"), verifier) as (target, servicer):
        certificate = local.load_certificate(own_folder, "gateway")
        channel = client.channel(target, service=SERVICE, certificate=certificate)
        stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        call = client.Caller(signer("gateway"))
        stop = asyncio.Event()

        async def work() -> None:
            while not stop.is_set():
                await call(stub.GetJob, jobs_service_pb2.GetJobRequest(), timeout=60.0, wait_for_ready=False)

        watching = call.stream(stub.WatchJob, jobs_service_pb2.WatchJobRequest())
        await anext(watching)
        working = [asyncio.create_task(work()) for _ in range(4)]
        for name in ("gateway", "jobs"):
            shutil.rmtree(own_folder / "certificates" / name)
        assert certificates.make(own_folder / "certificates") == ["jobs", "gateway"]
        new = local.load_certificate(own_folder, "gateway").material().certificate

        async def is_shown() -> bool:
            return new in servicer.certificates

        await eventually(is_shown)
        served = await asyncio.to_thread(_certificate_of, target)
        assert served.encode() == local.load_certificate(own_folder, "jobs").material().certificate
        stop.set()
        await asyncio.gather(*working)
        # What was under way goes on over the connection that it began on.
        await anext(watching)
        await watching.aclose()
        await channel.close()


def _certificate_of(target: str) -> str:
    host, _, port = target.partition(":")
    return ssl.get_server_certificate((host, int(port)))
