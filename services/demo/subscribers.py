"""NATS in: job events become news. At least once, in any order; the inbox and the job's version sort that out."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from chassis import bus
from repruv.jobs.v1 import job_events_pb2
from services.demo import convert, operations

DURABLE = "demo"
KINDS = "demo.>"


class JobEvents:
    """Hears what happens to jobs."""

    def __init__(self, demo: operations.Operations) -> None:
        self._demo = demo

    async def heard(self, received: bus.Received) -> None:
        """Settle demo modes by the events; jobs of other kinds are none of ours. Raises `bus.Undecodable`."""
        try:
            events = job_events_pb2.JobEvents.FromString(received.payload).events
            heard = [(f"{event.owner_id}/{event.sequence}", convert.news_from_proto(event.job)) for event in events]
        except (DecodeError, ValueError) as error:
            raise bus.Undecodable(received.subject) from error
        for event_id, news in heard:
            if news:
                await self._demo.settle(news, message_id=event_id)
