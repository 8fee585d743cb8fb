"""The client of the wheel against the server of our services: what it repeats, and what errors say."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from chassis import errors, identity, tls
from chassis.rpc import server
from repruv.jobs.v1 import jobs_service_pb2 as messages
from repruv.jobs.v1 import jobs_service_pb2_grpc
from repruv_client import CallFailed, Certificate, Client

BUSY = errors.ResourceExhausted("Too many.", code="queue_full", details={"retry_after_seconds": "0.01"})
DOWN = errors.Unavailable("No database.", code="database_unavailable")
INVALID = errors.InvalidArgument("job_id must be a UUID.", field="job_id")


class Servicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Fails with each of `failures`, then answers."""

    def __init__(self) -> None:
        self.failures: deque[errors.Error] = deque()

    async def GetJob(self, request: Any, context: Any) -> messages.GetJobResponse:  # noqa: N802
        if self.failures:
            raise self.failures.popleft()
        return messages.GetJobResponse()


Connect = Callable[[str, str], Client]


def paths_of(files: tls.Certificate) -> tuple[str, str, str]:
    return files.certificate, files.key, files.authority


@pytest.fixture
def connect(certificate: Callable[[str], tls.Certificate], seeds: dict[str, str]) -> Connect:
    """Return a client that signs as one service and has the certificate of one."""

    def make(signer: str, holder: str) -> Client:
        return Client(signer, identity_key=seeds[signer], certificate=Certificate(*paths_of(certificate(holder))))

    return make


@pytest.fixture
async def serving(
    certificate: Callable[[str], tls.Certificate], verifier: identity.Verifier
) -> AsyncIterator[tuple[Servicer, str]]:
    """The jobs service's GetJob, for demo."""
    servicer = Servicer()  # type: ignore[abstract] # the rest is not called
    service = server.Service(
        name="repruv.jobs.v1.JobsService",
        register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, servicer),
        callers={"GetJob": frozenset({"demo"})},
    )
    async with server.serving(
        listen="127.0.0.1:0",
        services=[service],
        verifier=verifier,
        translate=lambda error: None,
        certificate=certificate("jobs"),
    ) as port:
        yield servicer, f"127.0.0.1:{port}"


async def get_job(client: Client, target: str, *, idempotent: bool, timeout: float = 60.0) -> None:
    async with client:
        stub = jobs_service_pb2_grpc.JobsServiceStub(client.channel("jobs", target))
        await client.call(stub.GetJob, messages.GetJobRequest(), timeout=timeout, idempotent=idempotent)


async def test_idempotent_calls_are_repeated_after_temporary_failures(
    serving: tuple[Servicer, str], connect: Connect
) -> None:
    servicer, target = serving
    servicer.failures.extend([DOWN, BUSY, DOWN])
    await get_job(connect("demo", "demo"), target, idempotent=True)
    assert not servicer.failures


@pytest.mark.parametrize(
    ("failures", "idempotent", "left"),
    [
        pytest.param([DOWN, DOWN], False, 1, id="the call is not idempotent"),
        pytest.param([INVALID, DOWN], True, 1, id="the same call would fail again"),
        pytest.param([DOWN] * 7, True, 2, id="five calls are the limit"),
    ],
)
async def test_other_calls_are_not_repeated(
    serving: tuple[Servicer, str], connect: Connect, failures: list[errors.Error], idempotent: bool, left: int
) -> None:
    servicer, target = serving
    servicer.failures.extend(failures)
    with pytest.raises(CallFailed):
        await get_job(connect("demo", "demo"), target, idempotent=idempotent)
    assert len(servicer.failures) == left


async def test_a_call_does_not_wait_beyond_its_timeout(serving: tuple[Servicer, str], connect: Connect) -> None:
    servicer, target = serving
    servicer.failures.append(errors.ResourceExhausted(code="queue_full", details={"retry_after_seconds": "3600"}))
    with pytest.raises(CallFailed) as excinfo:
        await get_job(connect("demo", "demo"), target, idempotent=True)
    assert excinfo.value.retry_after == 3600.0


async def test_errors_name_code_and_field(serving: tuple[Servicer, str], connect: Connect) -> None:
    servicer, target = serving
    servicer.failures.append(INVALID)
    with pytest.raises(CallFailed) as excinfo:
        await get_job(connect("demo", "demo"), target, idempotent=True)
    error = excinfo.value
    assert (error.status, error.code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", "job_id")
    assert error.message == "job_id must be a UUID."
    assert not error.is_temporary


@pytest.mark.parametrize(
    ("signer", "holder", "code"),
    [("gateway", "gateway", "caller_not_allowed"), ("demo", "gateway", "certificate_mismatch")],
)
async def test_services_without_a_row_or_with_another_certificate_are_refused(
    serving: tuple[Servicer, str], connect: Connect, signer: str, holder: str, code: str
) -> None:
    _, target = serving
    with pytest.raises(CallFailed) as excinfo:
        await get_job(connect(signer, holder), target, idempotent=True)
    assert excinfo.value.code == code


async def test_the_server_must_have_the_certificate_of_the_called_service(
    serving: tuple[Servicer, str], connect: Connect
) -> None:
    _, target = serving
    client = connect("demo", "demo")
    async with client:
        stub = jobs_service_pb2_grpc.JobsServiceStub(client.channel("auth", target))
        with pytest.raises(CallFailed) as excinfo:
            await client.call(stub.GetJob, messages.GetJobRequest(), timeout=1.0)
    assert not excinfo.value.code


async def test_renewed_certificate_files_are_used_by_the_same_client(
    serving: tuple[Servicer, str],
    certificate: Callable[[str], tls.Certificate],
    seeds: dict[str, str],
    tmp_path: Path,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    def install(holder: str) -> None:
        for path in paths_of(certificate(holder)):
            shutil.copy(path, tmp_path)

    install("gateway")
    paths = Certificate(*(str(tmp_path / Path(path).name) for path in paths_of(certificate("demo"))))
    async with Client("demo", identity_key=seeds["demo"], certificate=paths) as client:
        stub = jobs_service_pb2_grpc.JobsServiceStub(client.channel("jobs", serving[1]))

        async def is_accepted() -> bool:
            try:
                await client.call(stub.GetJob, messages.GetJobRequest(), timeout=60.0)
            except CallFailed as failure:
                assert failure.code == "certificate_mismatch"
                return False
            return True

        assert not await is_accepted()
        install("demo")
        await eventually(is_accepted)
