"""The connection to the jobs service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from chassis import identity, tls
from chassis.rpc import client
from repruv.jobs.v1 import admin_service_pb2_grpc, jobs_service_pb2_grpc

DEFAULT_TARGET = "127.0.0.1:50053"
TIMEOUT = 15.0

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class NotConfigured(Exception):
    """The environment has no usable identity key or certificate."""


class Connection:
    """Calls the jobs service without a user."""

    def __init__(self, channel: grpc.aio.Channel, signer: identity.Signer, target: str) -> None:
        self.target = target
        self._call = client.Caller(signer)
        self.jobs = jobs_service_pb2_grpc.JobsServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Call `method`; fail immediately if the service is unreachable."""
        return await self._call(method, request, timeout=TIMEOUT, user_token="", wait_for_ready=False)

    def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """Call a streaming `method`, as `client.Caller.stream` does."""
        return self._call.stream(method, request, user_token="")


@asynccontextmanager
async def connected(environ: Mapping[str, str]) -> AsyncIterator[Connection]:
    """Connect to the jobs service that the environment names. Raises `NotConfigured`."""
    target = environ.get("JOBS_TARGET") or DEFAULT_TARGET
    signer = _signer(environ)
    try:
        certificate = tls.from_environment(environ)
        channel = client.channel(target, service="repruv.jobs.v1.JobsService", certificate=certificate)
    except tls.CertificateUnusable as error:
        raise NotConfigured(f"the certificate of the jobs service cannot be used: {error}") from error
    try:
        yield Connection(channel, signer, target)
    finally:
        await channel.close()


def _signer(environ: Mapping[str, str]) -> identity.Signer:
    seed, trust = environ.get("IDENTITY_KEY", ""), environ.get("TRUSTED_IDENTITY_KEYS", "")
    if not seed:
        raise NotConfigured("IDENTITY_KEY is missing: run the command in a container of jobs (on a laptop: make admin)")
    try:
        key = identity.public_key(seed)
    except ValueError as error:
        raise NotConfigured("IDENTITY_KEY is not the private key of a service") from error
    names = {public: name for name, _, public in (entry.strip().partition(":") for entry in trust.split(","))}
    return identity.Signer(names.get(key, "jobs"), seed)
