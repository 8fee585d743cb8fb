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
        """Settle resources by the events of a message. An event that fails keeps only later ones of its owner from being settled.

        Raises the first failure, else `bus.Undecodable` if an event cannot be read.
        """
        try:
            events = job_events_pb2.JobEvents.FromString(message.payload).events
        except DecodeError as error:
            raise bus.Undecodable(message.subject) from error
        failures: dict[str, Exception] = {}
        unreadable: ValueError | None = None
        for event in events:
            settler = self._settlers.get(event.job.spec.kind)
            if settler is None or event.owner_id in failures:
                continue
            try:
                update = updates.from_job(settler.lifecycle.rows, event.job)
            except ValueError as error:
                unreadable = error
                continue
            try:
                if update:
                    await settler.settle(update)
            except Exception as error:  # noqa: BLE001 - raised once the events of the other owners are settled
                failures[event.owner_id] = error
        if failures:
            raise next(iter(failures.values()))
        if unreadable:
            raise bus.Undecodable(message.subject) from unreadable
