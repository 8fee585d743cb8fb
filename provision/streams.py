"""Create or update the JetStream stream of each service and the durable consumers of its events."""

from __future__ import annotations

import asyncio
import logging
import time

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from chassis import streams, tls
from provision import services

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2
REQUEST_SECONDS = 10.0
RETRY_SECONDS = 0.5
STARTING = frozenset({10005, 10008})
"""JSClusterNoPeersErr, JSClusterNotAvailErr."""
_OTHERS = {"auth": ("notifications.>",)}
CONSUMERS = tuple(("jobs", service, (f"{service}.>", *_OTHERS.get(service, ()))) for service in services.JOB_OWNERS)
"""(service that publishes the events, name of the durable consumer, filters of the subjects after `<service>.events.`)"""


class Unreachable(Exception):
    """NATS did not accept a connection in time."""


async def provision(
    url: str, names: tuple[str, ...], *, seconds: float, certificate: tls.Certificate | None = None
) -> None:
    """Create or update the streams of the services `names` and all consumers.

    Raises `Unreachable` after `seconds` without NATS.
    """
    client = await _connect(url, seconds, certificate)
    try:
        js = client.jetstream(timeout=REQUEST_SECONDS)
        deadline = time.monotonic() + seconds
        for service in names:
            await _provision_stream(js, service, streams.replicas(url), deadline)
        for service, durable, filters in CONSUMERS:
            # Creates or updates; the server rejects a change of settings that are fixed.
            await js.add_consumer(streams.stream_name(service), streams.consumer_config(service, durable, filters))
            logger.info("consumer %s/%s is in place", streams.stream_name(service), durable)
    finally:
        await client.close()


async def _connect(url: str, seconds: float, certificate: tls.Certificate | None) -> Client:
    try:
        # The client can wait forever after a failed TLS handshake.
        async with asyncio.timeout(seconds + CONNECT_SECONDS):
            return await nats.connect(
                streams.servers(url),
                name="provision",
                tls=certificate.client_context() if certificate else None,
                tls_handshake_first=certificate is not None,
                inbox_prefix=streams.inbox_prefix(url),
                connect_timeout=CONNECT_SECONDS,
                reconnect_time_wait=RETRY_SECONDS,
                max_reconnect_attempts=int(seconds / RETRY_SECONDS),
                allow_reconnect=True,
                error_cb=_report,
            )
    except (NatsError, OSError) as error:
        cause = str(error) or type(error).__name__
        raise Unreachable(f"NATS did not accept a connection within {seconds:g} s: {cause}") from error


async def _provision_stream(js: JetStreamContext, service: str, replicas: int, deadline: float) -> None:
    """Create or update a stream. Until `deadline`, wait for a cluster whose nodes are not all known, or that has no leader."""
    while True:
        try:
            await _put_stream(js, service, replicas)
        except (APIError, NatsError) as error:
            is_starting = not isinstance(error, APIError) or error.err_code in STARTING
            if not is_starting or time.monotonic() > deadline:
                raise
            logger.info("waiting for the NATS cluster: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


async def _put_stream(js: JetStreamContext, service: str, replicas: int) -> None:
    config = streams.stream_config(service, replicas)
    try:
        existing = (await js.stream_info(streams.stream_name(service))).config
    except NotFoundError:
        await js.add_stream(config)
    else:
        # An operator may have enlarged it: a smaller one would drop its oldest events.
        config.max_bytes = max(config.max_bytes or 0, existing.max_bytes or 0)
        await js.update_stream(config)
    logger.info("stream %s is in place", streams.stream_name(service))


async def _report(error: Exception) -> None:
    logger.info("waiting for NATS: %s", error or type(error).__name__)
