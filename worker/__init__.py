"""The job worker runtime: a service names its kinds and handlers, and this claims jobs, runs them, keeps their leases.

    worker.Worker(name="demo", handlers={"demo.enable": enable}, jobs=jobs, bus=nats, concurrency=4)

A handler is `async def handler(context: Context) -> dict | None`; what it returns is the job's result. To be testable it
needs nothing but a context. It may be called again at any time, by another worker or, after an outage of the database, in the
same attempt; so it goes on where its own data says that it stopped.
"""

from __future__ import annotations

from worker.attempt import Handler
from worker.client import JobsClient
from worker.context import Cancelled, Context, JobFailed
from worker.worker import Worker

__all__ = ["Cancelled", "Context", "Handler", "JobFailed", "JobsClient", "Worker"]
