"""The worker process: wires its loops, registers its kinds, and drains at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry

from chassis import bus as buses
from chassis import errors, exposition, run
from repruv.jobs.v1 import job_pb2, kind_pb2
from worker import liveness
from worker._api.kinds import Kind, Schedule, by_name
from worker._runtime import heartbeats, invocation, recorder, tasks
from worker._runtime.attempt import CANCEL_GRACE_SECONDS, AttemptRunner, StopReason
from worker._runtime.claims import LOOP, WAIT_SECONDS, Claims
from worker._runtime.heartbeats import Heartbeats
from worker._runtime.metrics import Metrics
from worker._runtime.processes import Processes
from worker._runtime.slots import Slots
from worker._runtime.threads import Threads
from worker._runtime.version import program_version
from worker.client import JobsClient

logger = logging.getLogger(__name__)

MAX_CONCURRENCY = 1_000
MAX_KINDS = 100
REGISTER_SECONDS = 30.0
DRAIN_SECONDS = 10.0
HAND_BACK_SECONDS = 3.0
ABANDON_SECONDS = 1.0
"""Time that attempts whose outcomes could not be delivered have to end."""


class Worker:
    """Runs jobs of its kinds in one process. Any number of processes may run the same kinds."""

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
        registries: Iterable[CollectorRegistry] = (),
        drain_seconds: float = DRAIN_SECONDS,
        stalled_seconds: float = liveness.STALLED_SECONDS,
        on_stalled: Callable[[], None] = liveness.end_process,
        translate: run.Translate = lambda error: None,
    ) -> None:
        """Wire the worker; nothing happens before `run`. Raises ValueError for invalid arguments.

        `concurrency`: handlers that run at once, 1 to 1,000. `metrics_address`: host:port of `/healthz` and `/metrics`, or
        empty; `registries`: further metrics to serve there. `drain_seconds`: time that handlers have to finish when the worker
        stops. `on_stalled` is called when a loop has not iterated for `stalled_seconds`. `translate` maps the errors of an
        unavailable database to `Unavailable`: attempts wait for its return.
        """
        all_kinds = list(kinds)
        self._kinds = by_name(all_kinds)
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise ValueError(f"concurrency must be between 1 and {MAX_CONCURRENCY}")
        self.name = f"{name}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._registrations = [registration for kind in all_kinds for registration in kind.registrations()]
        self._info = kind_pb2.WorkerInfo(host=socket.gethostname(), version=program_version(), concurrency=concurrency)
        self._info.start_time.GetCurrentTime()
        self._schedules = [schedule.registration() for schedule in schedules]
        if not 1 <= len(self._registrations) <= MAX_KINDS or len(self._schedules) > MAX_KINDS:
            raise ValueError(f"a worker has 1 to {MAX_KINDS} kinds and at most {MAX_KINDS} schedules")
        self._jobs = jobs
        self._translate = translate
        self._drain_seconds = drain_seconds
        self._metrics_address = metrics_address
        self._registries = tuple(registries)
        self._stopping = False
        self._register_now = asyncio.Event()
        self._liveness = liveness.Liveness(stalled_seconds=stalled_seconds, on_stalled=on_stalled)
        self._threads = Threads(on_free=self._wake)
        self._processes = Processes(self._threads)
        self._prepare = {
            kind_name: invocation.prepare(kind, kind_name, self._threads, self._processes)
            for kind_name, kind in self._kinds.items()
        }
        self._slots = Slots(concurrency, on_free=self._wake, stuck_threads=lambda: self._threads.stuck)
        self._claims = Claims(
            self.name,
            list(self._kinds),
            jobs,
            self._slots,
            self._liveness,
            start=self._start,
            # The loop iterates well within `stalled_seconds`.
            wait=min(WAIT_SECONDS, stalled_seconds / 2),
        )
        self._heartbeats = Heartbeats(self.name, jobs, self._slots, self._liveness, lease=lambda: self._claims.lease)
        self._metrics = Metrics(
            self._kinds,
            held_jobs=lambda: len(self._slots),
            claim_loop_seconds=lambda: self._liveness.seconds_since(LOOP),
        )
        bus.subscribe("jobs.cancel", self._on_cancel)
        bus.on_connected(self._register_now.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Then stop claiming, let handlers finish within `drain_seconds`, hand back the rest."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(
                exposition.serving(
                    self._metrics_address,
                    self._metrics.registry,
                    *self._registries,
                    stalled=lambda: self._liveness.stalled,
                )
            )
            stack.callback(self._processes.close)
            stack.enter_context(recorder.installed())
            tasks.contain_exits()
            background = await stack.enter_async_context(run.Background())
            for loop in (LOOP, heartbeats.LOOP):
                self._liveness.beat(loop)
            background.start("watch", self._liveness.watch)
            background.start("register", self._register)
            background.start(heartbeats.LOOP, self._heartbeats.run)
            background.start(LOOP, self._claims.run)
            logger.info("worker is ready", extra={"worker": self.name, "kinds": sorted(self._prepare)})
            await stop.wait()
            self._stopping = True
            await self._claims.stop()
            await self._drain()

    def _start(self, job: job_pb2.Job) -> None:
        name = job.spec.kind
        kind, metrics = self._kinds[name], self._metrics.by_kind[name]
        metrics.claimed.inc()
        if job.attempt == 1:
            metrics.waited.observe(_wait_seconds(job))
        attempt = AttemptRunner(
            job,
            self._prepare[name],
            self._jobs,
            metrics=metrics,
            translate=self._translate,
            on_handler_done=self._slots.on_handler_done,
            # A process cannot be asked to stop.
            grace=0.0 if kind.pool == "process" else CANCEL_GRACE_SECONDS,
            sensitive=kind.sensitive,
        )
        if self._stopping:
            attempt.stop(StopReason.RELEASED)
        self._slots.start(attempt)

    async def _register(self) -> None:
        while True:
            self._register_now.clear()
            if not self._liveness.stalled:
                try:
                    await self._jobs.register_kinds(self.name, self._registrations, self._schedules, self._info)
                except errors.Error as error:
                    # Existing jobs can run without it.
                    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
                    logger.log(level, "kinds not registered", extra={"cause": error.code, "detail": error.message})
            await run.wait(self._register_now, run.pause(REGISTER_SECONDS))

    async def _drain(self) -> None:
        slots = self._slots
        if not slots.tasks:
            return
        logger.info("draining", extra={"running": len(slots), "grace_seconds": self._drain_seconds})
        await asyncio.wait(slots.tasks, timeout=self._drain_seconds)
        slots.stop(slots.keys, StopReason.RELEASED)
        if slots.tasks:
            _, abandoned = await asyncio.wait(slots.tasks, timeout=HAND_BACK_SECONDS)
            for task in abandoned:
                # The outcome was not delivered; the lease will expire.
                task.cancel()
            if abandoned:
                # One that goes on regardless ends with the process.
                await asyncio.wait(abandoned, timeout=ABANDON_SECONDS)

    def _wake(self) -> None:
        self._claims.wake.set()

    async def _on_cancel(self, received: buses.Received) -> None:
        # Only a wake-up: the answer to the heartbeat decides.
        self._heartbeats.beat_now.set()


def _wait_seconds(job: job_pb2.Job) -> float:
    """Return the seconds for which the job was due before its first attempt, by the database's clock."""
    due = max(job.create_time.ToNanoseconds(), job.spec.run_at.ToNanoseconds())
    return max(0.0, (job.start_time.ToNanoseconds() - due) / 1e9)
