"""NATS in: job events become news. At least once, in any order; the inbox and the job's version sort that out."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from chassis import bus
from repruv.jobs.v1 import job_events_pb2
from services.demo import convert, operations

DURABLE = "demo"


class JobEvents:
    """Hears what happens to jobs."""

    def __init__(self, demo: operations.Operations) -> None:
        self._demo = demo

    async def heard(self, received: bus.Received) -> None:
        """Settle demo mode by the event; jobs of other kinds are none of ours. Raises `bus.Undecodable`."""
        try:
            event = job_events_pb2.JobEvent.FromString(received.payload)
            news = convert.news_from_proto(event.job)
        except (DecodeError, ValueError) as error:
            raise bus.Undecodable(received.subject) from error
        if news:
            await self._demo.settle(news, message_id=received.message_id)
