"""NATS in: job events become job updates. Delivered at least once and in any order; the job's version decides."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from chassis import bus
from lifecycle import updates
from lifecycle.settler import Settler
from repruv.jobs.v1 import job_events_pb2


class Subscriber:
    """Consumes the job events of a service for its lifecycles. Events of other kinds are dropped."""

    def __init__(self, *settlers: Settler[Any, Any]) -> None:
        self._settlers = {kind: settler for settler in settlers for kind in settler.lifecycle.machine.steps}

    async def receive(self, message: bus.Received) -> None:
        """Settle resources by the events of a message. Raises `bus.Undecodable`."""
        try:
            events = job_events_pb2.JobEvents.FromString(message.payload).events
            received = [(self._settlers.get(event.job.spec.kind), event.job) for event in events]
            job_updates = [
                (settler, updates.from_job(settler.lifecycle.rows, job)) for settler, job in received if settler
            ]
        except (DecodeError, ValueError) as error:
            raise bus.Undecodable(message.subject) from error
        for settler, update in job_updates:
            if update:
                await settler.settle(update)
