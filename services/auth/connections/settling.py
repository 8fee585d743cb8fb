"""How connections learn that a job, or a user's time, has ended: by events, by reads, and by looking again and again."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, outbox, postgres
from services.auth.connections import announcements, convert, domain, secrets, storage
from services.auth.connections.domain import Action, Connection
from worker import JobsClient
from worker.outbox import Submitter

logger = logging.getLogger(__name__)

SECONDS = 2.0
STALE = timedelta(seconds=10)
BATCH = 20


class Settlement:
    """Runs in every replica; rows are locked with SKIP LOCKED, so that several share the work."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        jobs: JobsClient,
        submits: Submitter,
        announced: announcements.Announcements,
        relay: outbox.Relay,
    ) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._jobs = jobs
        self._submits = submits
        self._announced = announced
        self._relay = relay

    async def settle(self, news: domain.JobNews) -> Connection:
        """Let news of a job have its effect; gives how the connection stands.

        Without an inbox: what ends a transition finds no transition when it comes again.
        """
        async with self._single.connect() as conn:
            connection = await storage.get(conn, news.user_id, news.platform)
        if domain.settle(connection, news) is None:
            return connection
        async with self._engine.begin() as conn:
            connection = await storage.get(conn, news.user_id, news.platform, lock=True)
            if (verdict := domain.settle(connection, news)) is None:
                return connection
            action, error = verdict
            ended = {"attempt": news.attempt, "job_version": news.version}
            if error:
                settled = await storage.fail(conn, connection, action, error, **ended)
            else:
                settled = await storage.move(conn, connection, action, **ended)
            if settled is None:
                raise errors.Internal("A locked connection changed its state.")
            messages = await self._announced.announce(conn, settled, action)
        self._relay.send(messages)
        logger.info("settled", extra={"job_id": news.job_id, "action": action.value, "state": settled.state.value})
        return settled

    async def abandon(self, connection: Connection) -> Connection:
        """Give up what its user has not come back to; gives how it stands."""
        async with self._engine.begin() as conn:
            held = await storage.get(conn, connection.user_id, connection.platform, lock=True)
            if not held.is_away or held.generation != connection.generation:
                return held
            if (ended := await storage.move(conn, held, Action.ABANDON)) is None:
                raise errors.Internal("A locked connection changed its state.")
            messages = await self._announced.announce(conn, ended, Action.ABANDON)
        self._relay.send(messages)
        return ended

    async def abandon_all(self, *, limit: int = 100) -> int:
        """Give up what users have not come back to in time, and delete what their callbacks had to match; gives how many."""
        async with self._single.connect() as conn:
            found = await storage.list_abandoned(conn, limit=limit)
        for connection in found:
            await self.abandon(connection)
        async with self._single.connect() as conn:
            await secrets.delete_expired(conn)
        return len(found)

    async def repaired(self, connection: Connection) -> Connection:
        """Give a connection as it stands when a transition that its job or time has left behind is ended."""
        if connection.is_away and await self._is_over(connection):
            return await self.abandon(connection)
        if not connection.is_moving:
            return connection
        try:
            job = await self._jobs.get(str(connection.job_id))
        except errors.Error as error:
            logger.warning("answered without the job", extra={"job_id": connection.job_id, "cause": error.code})
            return connection
        # None: accepted, and not submitted yet; the outbox will.
        news = convert.news_from_proto(job) if job else None
        return await self.settle(news) if news and domain.settle(connection, news) else connection

    async def settle_stale(self, *, age: timedelta = STALE) -> int:
        """Ask for the jobs of transitions that last longer than `age`; gives how many were asked for."""
        async with self._engine.begin() as conn:
            stale = await storage.take_moving(conn, age=age, limit=BATCH)
        results = await asyncio.gather(*map(self._check, stale), return_exceptions=True)
        for connection, result in zip(stale, results, strict=True):
            if isinstance(result, errors.Error):
                logger.warning("transition not checked", extra={"job_id": connection.job_id, "cause": result.code})
            elif isinstance(result, BaseException):
                logger.error("transition not checked", exc_info=result, extra={"job_id": connection.job_id})
        return len(stale)

    async def _check(self, connection: Connection) -> None:
        job = await self._jobs.get(str(connection.job_id))
        if job is None:
            # Also when the outbox still holds it: the submit is idempotent.
            await self._submits.submit(convert.submit_to_proto(connection))
        elif news := convert.news_from_proto(job):
            await self.settle(news)

    async def _is_over(self, connection: Connection) -> bool:
        async with self._single.connect() as conn:
            now: datetime = await storage.now(conn)
        return connection.changed_at is not None and connection.changed_at <= now - domain.AUTHORIZATION_LIFETIME
