"""The worker process: claims jobs up to its concurrency, keeps their leases, stops them when they are lost or unwanted."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Iterable, Mapping

from chassis import bus, errors, run
from worker import client
from worker.attempt import Attempt, Fate, Handler
from worker.client import Held, JobsClient

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
DRAIN_SECONDS = 10.0
RELEASE_SECONDS = 3.0
BEATS_PER_LEASE = 4
REPEAT_SECONDS = 0.1
"""Pause before a heartbeat that was not answered is repeated."""
LEASES_WITHOUT_CONTACT = 3
"""After so many leases without an answer the attempts are given up: by then others have surely taken over."""


class Worker:
    """Runs jobs of the kinds for which it has handlers."""

    def __init__(
        self,
        *,
        name: str,
        handlers: Mapping[str, Handler],
        jobs: JobsClient,
        nats: bus.Bus,
        concurrency: int,
        drain_seconds: float = DRAIN_SECONDS,
        translate: run.Translate = lambda error: None,
    ) -> None:
        """`translate` recognises errors of a database that does not answer: its outages are waited out."""
        self.name = f"{name}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._handlers = dict(handlers)
        self._jobs = jobs
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._translate = translate
        self._running: dict[Held, tuple[Attempt, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._beat = asyncio.Event()
        self._lease = 3.0
        self._claiming: asyncio.Task[int] | None = None
        self._stopping = False
        for kind in self._handlers:
            nats.listen(f"jobs.wake.{kind}", self._rung)
        nats.listen("jobs.cancel", self._cancel_told)
        nats.on_connected(self._wake.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then claim no more, let what runs finish within the grace, hand back the rest."""
        async with run.Background() as background:
            background.start("heartbeat", self._heartbeat)
            background.start("claim", self._claim)
            logger.info("worker is ready", extra={"worker": self.name, "kinds": sorted(self._handlers)})
            await stop.wait()
            self._stopping = True
            self._wake.set()
            if self._claiming:
                # A claim that was made must become attempts, to be handed back in order.
                await asyncio.wait([self._claiming], timeout=client.TIMEOUT)
            await self._drain()

    async def _claim(self) -> None:
        pause = 0.1
        while not self._stopping:
            free = self._concurrency - len(self._running)
            claimed = 0
            self._wake.clear()
            if free > 0:
                try:
                    self._claiming = asyncio.create_task(self._claim_batch(free))
                    claimed = await asyncio.shield(self._claiming)
                    pause = 0.1
                except errors.Error as error:
                    logger.warning("could not claim", extra={"cause": error.code})
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                    pause = min(pause * 2, 2.0)
                    continue
            if free == 0 or claimed < free:
                await run.wait(self._wake, POLL_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311

    async def _claim_batch(self, limit: int) -> int:
        jobs, self._lease = await self._jobs.claim(self.name, self._handlers, limit)
        for job in jobs:
            attempt = Attempt(job, self._handlers[job.spec.kind], self._jobs, translate=self._translate)
            task = asyncio.create_task(attempt.run(), name=f"{job.spec.kind} {job.job_id}")
            self._running[attempt.held] = (attempt, task)
            task.add_done_callback(lambda done, held=attempt.held: self._ended(held, done))  # type: ignore[misc]
            if self._stopping:
                attempt.stop(Fate.RELEASED)
        return len(jobs)

    def _ended(self, held: Held, task: asyncio.Task[None]) -> None:
        if len(self._running) == self._concurrency:
            # Jobs may wait that there was no room for; otherwise the last claim has taken all there were.
            self._wake.set()
        del self._running[held]
        if not task.cancelled() and (error := task.exception()):
            logger.error("attempt broke", exc_info=error, extra={"job_id": held[0], "attempt": held[1]})

    async def _heartbeat(self) -> None:
        heard_at = time.monotonic()
        pause = self._lease / BEATS_PER_LEASE
        while True:
            await run.wait(self._beat, pause)
            self._beat.clear()
            pause = self._lease / BEATS_PER_LEASE
            if not self._running:
                heard_at = time.monotonic()
                continue
            sent_at = time.monotonic()
            try:
                # Not longer than until the next one is due: a replica that froze must not cost the lease.
                beat = await self._jobs.heartbeat(self.name, list(self._running), timeout=pause)
            except errors.Error as error:
                logger.warning("heartbeat not answered", extra={"cause": error.code})
                if time.monotonic() - heard_at > self._lease * LEASES_WITHOUT_CONTACT:
                    # What has ended goes on telling its outcome, which is accepted unless another attempt was made.
                    self._stop([held for held, (attempt, _) in self._running.items() if attempt.is_working], Fate.LOST)
                pause = REPEAT_SECONDS
                continue
            heard_at = sent_at
            self._stop(beat.lost, Fate.LOST)
            for held in beat.cancelling:
                if held in self._running:
                    self._running[held][0].request_cancel()

    def _stop(self, attempts: Iterable[Held], fate: Fate) -> None:
        for held in attempts:
            if held in self._running:
                self._running[held][0].stop(fate)

    async def _drain(self) -> None:
        tasks = [task for _, task in self._running.values()]
        if not tasks:
            return
        logger.info("draining", extra={"running": len(tasks), "grace_seconds": self._drain_seconds})
        await asyncio.wait(tasks, timeout=self._drain_seconds)
        self._stop(list(self._running), Fate.RELEASED)
        if left := [task for _, task in self._running.values()]:
            _, abandoned = await asyncio.wait(left, timeout=RELEASE_SECONDS)
            for task in abandoned:
                # Nobody heard us; the lease says it in seconds.
                task.cancel()
            await asyncio.gather(*abandoned, return_exceptions=True)

    async def _rung(self, received: bus.Received) -> None:
        self._wake.set()

    async def _cancel_told(self, received: bus.Received) -> None:
        # Only a hint to ask now: the truth is in the answer to the heartbeat.
        self._beat.set()
