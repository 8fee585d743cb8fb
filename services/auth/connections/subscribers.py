"""NATS in: job events become news. At least once, in any order; the job's version sorts that out."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from chassis import bus
from repruv.jobs.v1 import job_events_pb2
from services.auth.connections import convert, settling

DURABLE = "auth"
KINDS = "auth.>"


class JobEvents:
    """Hears what happens to jobs."""

    def __init__(self, settlement: settling.Settlement) -> None:
        self._settlement = settlement

    async def heard(self, received: bus.Received) -> None:
        """Settle connections by the events; jobs of other kinds are none of ours. Raises `bus.Undecodable`."""
        try:
            events = job_events_pb2.JobEvents.FromString(received.payload).events
            heard = [convert.news_from_proto(event.job) for event in events]
        except (DecodeError, ValueError) as error:
            raise bus.Undecodable(received.subject) from error
        for news in heard:
            if news:
                await self._settlement.settle(news)
