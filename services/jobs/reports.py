"""The reports of running attempts: progress, log lines, and checkpoints for later attempts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres, transactions
from services.jobs import broadcast, checkpoints, domain, finish, log_lines, storage


class Reports:
    """The reports of attempts.

    `kind_prefix` is the beginning of all kinds of the calling service: it reports on attempts of those kinds only.
    """

    def __init__(self, engine: AsyncEngine, broadcaster: broadcast.Broadcaster) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._broadcaster = broadcaster

    async def report_progress(
        self,
        job_id: UUID,
        attempt: int,
        progress: domain.Progress | None,
        lines: Sequence[domain.LogLine] = (),
        *,
        kind_prefix: str = "",
    ) -> None:
        """Store the progress and log lines of an attempt, and broadcast them. Raises `lease_lost`."""
        async with self._single.connect() as conn:
            if progress is not None:
                job = await storage.set_progress(conn, job_id, attempt, progress, kind_prefix=kind_prefix)
                if not job:
                    raise finish.lease_lost(job_id, attempt)
                self._broadcaster.progress(job)
            if lines:
                owners = await log_lines.append(conn, {(job_id, attempt): lines}, kind_prefix=kind_prefix)
                if job_id not in owners:
                    raise finish.lease_lost(job_id, attempt)
                self._broadcaster.logged(owners[job_id], job_id, attempt, lines[-1].number)

    async def list_log_lines(
        self, job_id: UUID, *, attempt: int, before: tuple[int, int] | None, limit: int
    ) -> log_lines.Page:
        """Return a page of the log lines of a job, the newest page first. Raises `NotFound`."""
        async with self._single.connect() as conn:
            domain.owned(await storage.get_job(conn, job_id), None)
            return await log_lines.page(conn, job_id, attempt=attempt, before=before, limit=limit)

    async def save_checkpoint(
        self,
        job_id: UUID,
        attempt: int,
        name: str,
        value: Any,
        duration: timedelta | None = None,
        *,
        number: int = 0,
        kind_prefix: str = "",
    ) -> None:
        """Store a value for later attempts. Raises `lease_lost`, `too_many_checkpoints`, `checkpoints_too_large`.

        A value with a smaller `number` than the stored one of the attempt changes nothing.
        """
        checkpoint = checkpoints.Checkpoint(name=name, value=value, duration=duration, number=number)
        async with transactions.begin(self._engine) as conn:
            await checkpoints.save(conn, job_id, attempt, checkpoint, kind_prefix=kind_prefix)

    async def get_checkpoints(self, job_id: UUID, attempt: int, *, kind_prefix: str = "") -> dict[str, Any]:
        """Return the checkpoints of the job. Raises `lease_lost`."""
        async with self._single.connect() as conn:
            return await checkpoints.get(conn, job_id, attempt, kind_prefix=kind_prefix)
