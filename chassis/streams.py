"""JetStream streams and consumers: one stream for each service, durable pull consumers for services that need every event.

Provisioning and services that find their stream missing (NATS lost its store) create the same definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import NotFoundError

MAX_AGE_SECONDS = 72 * 3600
MAX_AGE_SECONDS_OF = {"auth": 300}
"""Streams whose events no consumer reads later. Those of auth name accounts at platforms, which an erasure must not leave."""
DUPLICATE_WINDOW_SECONDS = 600
MAX_BYTES = 1 << 30
ACK_WAIT_SECONDS = 30.0
MAX_MESSAGE_BYTES = 256 * 1024
CLUSTER_REPLICAS = 3
"""With one of three lost, the other two are still the majority that JetStream needs."""


def events_subject(service: str, about: str) -> str:
    """Return the subject of a service's events; `about` is a job kind, an owner, or a resource."""
    return f"{service}.events.{about}"


def stream_name(service: str) -> str:
    return service.upper()


def stream_config(service: str, replicas: int) -> StreamConfig:
    """Define the stream of a service. Its consumers have as many replicas."""
    max_age = MAX_AGE_SECONDS_OF.get(service, MAX_AGE_SECONDS)
    return StreamConfig(
        name=stream_name(service),
        description=f"Events of the {service} service",
        subjects=[f"{service}.events.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=max_age,
        max_bytes=MAX_BYTES,
        max_msg_size=MAX_MESSAGE_BYTES,
        # A full stream drops the oldest event; a stream that refused would fill the outboxes instead. Consumers reconcile.
        discard=DiscardPolicy.OLD,
        duplicate_window=min(max_age, DUPLICATE_WINDOW_SECONDS),
        num_replicas=replicas,
        allow_direct=True,
    )


def consumer_config(service: str, durable: str, filters: Sequence[str]) -> ConsumerConfig:
    """Define a durable pull consumer of a service's events whose subjects continue with one of `filters`.

    Without the server's own `backoff`: it would be added to the delay that a handler asks for when it refuses a message.
    """
    subjects = [events_subject(service, about) for about in filters]
    return ConsumerConfig(
        durable_name=durable,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=subjects if len(subjects) > 1 else None,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=256,
    )


def inbox_prefix(url: str) -> str:
    """Return the subject prefix of replies to a service; no other service may subscribe to it."""
    user = urlsplit(servers(url)[0]).username
    return f"_INBOX.{user}" if user else "_INBOX"


def servers(url: str) -> list[str]:
    """Return the URL of each server of `nats://user:password@a:4222,b:4222` or `nats://…@a:4222,nats://…@b:4222`."""
    if url.count("://") > 1:
        return url.split(",")
    parts = urlsplit(url)
    user, separator, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{separator}{host}")) for host in hosts.split(",")]


def replicas(url: str) -> int:
    """Return on how many servers each message is stored: three if `url` names a cluster, else one."""
    return CLUSTER_REPLICAS if len(servers(url)) >= CLUSTER_REPLICAS else 1


async def ensure_stream(js: JetStreamContext, service: str, replicas: int) -> StreamInfo:
    """Create the stream of a service if it is missing. The settings of an existing one stay unchanged. Return its state."""
    try:
        return await js.stream_info(stream_name(service))
    except NotFoundError:
        return await js.add_stream(stream_config(service, replicas))


async def ensure_consumer(
    js: JetStreamContext, service: str, durable: str, filters: Sequence[str], *, replicas: int
) -> tuple[ConsumerInfo, bool]:
    """Create a durable consumer if it is missing; return its state and whether it was missing.

    The settings of an existing one stay unchanged.
    """
    try:
        return await js.consumer_info(stream_name(service), durable), False
    except NotFoundError:
        await ensure_stream(js, service, replicas)
        return await js.add_consumer(stream_name(service), consumer_config(service, durable, filters)), True
