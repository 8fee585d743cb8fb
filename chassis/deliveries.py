"""What happens to a message from NATS: it is handled, delivered again after a pause, or dropped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from faststream.nats.message import NatsMessage
from nats.aio.msg import Msg

from chassis import errors, metrics, run, tracing

logger = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 5.0, 15.0, 30.0)
"""Pauses before a redelivery, by the number of deliveries; the last pause applies to all further ones.

The last pause is also how long a consumer may stand still after an outage: all messages that it may have unacknowledged wait.
"""
MAX_FAILURES = 10
"""Unexpected failures after which a message is dropped: it would block those after it. Each process counts its own."""
MAX_COUNTED = 1_000
"""Messages whose failures a process counts. A consumer has 256 at a time; another replica may handle those that failed here."""


class Undecodable(Exception):
    """A message that cannot be decoded. A redelivery would fail again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message from NATS."""

    subject: str
    payload: bytes
    message_id: str
    """The id of the outbox row; empty for messages without a stream."""


Handler = Callable[[Received], Awaitable[None]]
Deliver = Callable[[NatsMessage], Awaitable[None]]


def acknowledge_after(service: str, handler: Handler, translate: run.Translate) -> Deliver:
    """Return a function that calls `handler` with an event of `service`, and acknowledges it; it is redelivered if that raises.

    An event is dropped when it cannot be decoded, or after ten failures that are not errors of a dependency: `translate`
    recognises those. Deliveries do not count: an outage and processes that are killed cause many.
    """
    dropped = metrics.NATS_DROPPED.labels(service)
    failures: dict[int, int] = {}

    async def deliver(message: NatsMessage) -> None:
        try:
            with tracing.receiving(message.raw_message.subject, message.raw_message.headers):
                await handler(received(message.raw_message))
        except Undecodable:
            logger.exception("undecodable message dropped", extra={"stream": service})
            dropped.inc()
            await message.reject()
        except Exception as error:
            expected = error if isinstance(error, errors.Error) else translate(error)
            if expected:
                logger.warning("message will be redelivered", extra={"stream": service, "cause": expected.code})
            elif _count(failures, message) >= MAX_FAILURES:
                # The periodic sweeps repair what the event would have changed.
                logger.exception("failing message dropped", extra={"stream": service})
                dropped.inc()
                await message.reject()
                return
            else:
                logger.exception("message will be redelivered", extra={"stream": service})
            await message.nack(delay=_pause(message))
        else:
            await message.ack()

    return deliver


def received(message: Msg) -> Received:
    """Return a message as handlers get it."""
    return Received(
        subject=message.subject, payload=message.data, message_id=(message.headers or {}).get("Nats-Msg-Id", "")
    )


def _deliveries(message: NatsMessage) -> int:
    return message.raw_message.metadata.num_delivered or 1


def _count(failures: dict[int, int], message: NatsMessage) -> int:
    """Count a failure of a message; return how many it has. The message that has failed least recently is forgotten."""
    sequence = message.raw_message.metadata.sequence.stream
    failures[sequence] = failures.pop(sequence, 0) + 1
    if len(failures) > MAX_COUNTED:
        del failures[next(iter(failures))]
    return failures[sequence]


def _pause(message: NatsMessage) -> float:
    return RETRY_SECONDS[min(_deliveries(message), len(RETRY_SECONDS)) - 1]
