"""The worker process: claims jobs up to its concurrency, keeps their leases, stops them when they are lost or unwanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Any

from chassis import bus as buses
from chassis import errors, run
from repruv.jobs.v1 import job_pb2
from worker import liveness, probes
from worker._api.kinds import Kind, Schedule, by_name
from worker._runtime import heartbeats, invocation
from worker._runtime.attempt import CANCEL_GRACE_SECONDS, Attempt, StopReason
from worker._runtime.claims import LOOP, WAIT_SECONDS, Claims
from worker._runtime.heartbeats import Heartbeats
from worker._runtime.metrics import Metrics
from worker._runtime.processes import Processes
from worker._runtime.slots import Slots
from worker._runtime.threads import Threads
from worker.client import JobsClient

logger = logging.getLogger(__name__)

MAX_CONCURRENCY = 1_000
MAX_DECLARED = 100
DECLARE_SECONDS = 30.0
DRAIN_SECONDS = 10.0
RELEASE_SECONDS = 3.0


class Worker:
    """Runs jobs of the kinds that it is given, in one process. As many processes as are wanted may do the same."""

    def __init__(
        self,
        *,
        name: str,
        kinds: Iterable[Kind[Any]],
        jobs: JobsClient,
        bus: buses.Bus,
        concurrency: int,
        schedules: Iterable[Schedule] = (),
        metrics_address: str = "",
        drain_seconds: float = DRAIN_SECONDS,
        stalled_seconds: float = liveness.STALLED_SECONDS,
        die: Callable[[], None] = liveness.end_process,
        translate: run.Translate = lambda error: None,
    ) -> None:
        """Wire it up; nothing happens before `run`. Raises ValueError for what cannot be meant.

        `concurrency`: how many handlers run at once, 1 to 1,000. `metrics_address`: host:port of `/healthz` and `/metrics`,
        empty for none. `drain_seconds`: how long handlers may go on when the worker is to stop. `stalled_seconds`: when a
        loop did not turn for so long, `die` is called. `translate` recognises errors of a database that does not answer:
        its outages are waited out.
        """
        served = by_name(given := list(kinds))
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise ValueError(f"concurrency must be between 1 and {MAX_CONCURRENCY}")
        self.name = f"{name}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._declarations = [one for kind in given for one in kind.declarations()]
        self._schedules = [schedule.declaration() for schedule in schedules]
        if not 1 <= len(self._declarations) <= MAX_DECLARED or len(self._schedules) > MAX_DECLARED:
            raise ValueError(f"a worker serves 1 to {MAX_DECLARED} kinds, and at most as many schedules")
        self._jobs = jobs
        self._translate = translate
        self._drain_seconds = drain_seconds
        self._metrics_address = metrics_address
        self._stopping = False
        self._declare_now = asyncio.Event()
        self._liveness = liveness.Liveness(stalled_seconds=stalled_seconds, die=die)
        self._threads = Threads(freed=self._wake)
        self._processes = Processes(self._threads)
        self._begins = {
            kind_name: invocation.begin(kind, kind_name, self._threads, self._processes)
            for kind_name, kind in served.items()
        }
        self._graces = {
            # A process cannot be asked to stop.
            kind_name: 0.0 if kind.pool == "process" else CANCEL_GRACE_SECONDS
            for kind_name, kind in served.items()
        }
        self._running = Slots(concurrency, freed=self._wake, stuck=lambda: self._threads.stuck)
        self._claims = Claims(
            self.name,
            list(served),
            jobs,
            self._running,
            self._liveness,
            start=self._start,
            # The loop turns well before it is taken for one that stands still.
            wait=min(WAIT_SECONDS, stalled_seconds / 3),
        )
        self._heartbeats = Heartbeats(self.name, jobs, self._running, self._liveness, lease=lambda: self._claims.lease)
        self._metrics = Metrics(
            served, held=lambda: len(self._running), turned=lambda: self._liveness.seconds_since(LOOP)
        )
        bus.subscribe("jobs.cancel", self._cancel_told)
        bus.on_connected(self._declare_now.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then claim no more, let what runs finish within the grace, hand back the rest."""
        async with contextlib.AsyncExitStack() as stack:
            if self._metrics_address:
                stack.enter_context(probes.serving(self._metrics_address, self._liveness, self._metrics))
            stack.callback(self._processes.close)
            background = await stack.enter_async_context(run.Background())
            for loop in (LOOP, heartbeats.LOOP):
                self._liveness.turned(loop)
            background.start("watch", self._liveness.watch)
            background.start("declare", self._declare)
            background.start(heartbeats.LOOP, self._heartbeats.run)
            background.start(LOOP, self._claims.run)
            logger.info("worker is ready", extra={"worker": self.name, "kinds": sorted(self._begins)})
            await stop.wait()
            self._stopping = True
            await self._claims.stop()
            await self._drain()

    def _start(self, job: job_pb2.Job) -> None:
        kind = job.spec.kind
        metrics = self._metrics.of[kind]
        metrics.claimed.inc()
        attempt = Attempt(
            job,
            self._begins[kind],
            self._jobs,
            metrics=metrics,
            translate=self._translate,
            worked=self._running.worked,
            grace=self._graces[kind],
        )
        if self._stopping:
            attempt.stop(StopReason.RELEASED)
        self._running.start(attempt)

    async def _declare(self) -> None:
        while True:
            self._declare_now.clear()
            if not self._liveness.stalled:
                try:
                    await self._jobs.declare(self.name, self._declarations, self._schedules)
                except errors.Error as error:
                    # Jobs that are there can be worked on all the same.
                    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
                    logger.log(level, "kinds not declared", extra={"cause": error.code, "detail": error.message})
            await run.wait(self._declare_now, DECLARE_SECONDS * random.uniform(0.75, 1.0))  # noqa: S311

    async def _drain(self) -> None:
        running = self._running
        if not running.tasks:
            return
        logger.info("draining", extra={"running": len(running), "grace_seconds": self._drain_seconds})
        await asyncio.wait(running.tasks, timeout=self._drain_seconds)
        running.stop(running.held, StopReason.RELEASED)
        if running.tasks:
            _, abandoned = await asyncio.wait(running.tasks, timeout=RELEASE_SECONDS)
            for task in abandoned:
                # Nobody heard us; the lease says it in seconds.
                task.cancel()
            await asyncio.gather(*abandoned, return_exceptions=True)

    def _wake(self) -> None:
        self._claims.wake.set()

    async def _cancel_told(self, received: buses.Received) -> None:
        # Only a hint to ask now: the truth is in the answer to the heartbeat.
        self._heartbeats.now.set()
