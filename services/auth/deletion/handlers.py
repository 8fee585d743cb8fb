"""The handlers of `auth.erase` and of the schedule that submits it when a grace period is over."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import errors, ids, outbox
from services.auth import audit, domain, schema
from services.auth import storage as account_storage
from services.auth.connections.effects import Effects
from services.auth.connections.handlers import maintenance as connections
from services.auth.context import end_access
from services.auth.deletion import jobs, storage
from services.auth.deletion.storage import Erasing
from services.auth.email import jobs as email_jobs
from services.auth.email import links
from services.auth.second_factor import storage as factor_storage

logger = logging.getLogger(__name__)

SCHEDULE = worker.Schedule(jobs.ERASE_DUE, kind=jobs.ERASE_DUE, cron="23 * * * *", overlap="skip")
BATCH = 200
STEPS = 5
EVENTS_BATCH = 5_000
SETTLE = timedelta(minutes=6)
"""Time after the last session has ended: signed identities live five minutes, and a call with one may still run."""
REVOCATION_TIMEOUT = timedelta(hours=24)
"""Time for which platforms may refuse to revoke tokens; then the tokens are deleted."""
CLOCKS = timedelta(days=1)
"""More than the clocks of two hosts ever differ."""
WAIT = timedelta(seconds=10)
"""The pause while something of the user ends in another service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    engine: AsyncEngine
    relay: outbox.Sender
    effects: Effects
    jobs_client: worker.JobsClient
    settle: timedelta = SETTLE
    wait: timedelta = WAIT

    def kinds(self) -> list[worker.Kind[Any]]:
        return [
            worker.Kind(
                jobs.ERASE,
                self.erase,
                payload=jobs.Payload,
                max_attempts=20,
                backoff=timedelta(seconds=5),
                max_backoff=timedelta(hours=1),
                attempt_timeout=timedelta(minutes=20),
                retention=timedelta(days=30),
            ),
            worker.Kind(jobs.ERASE_DUE, self.submit_due, retention=timedelta(days=1)),
        ]

    async def submit_due(self, context: worker.Context) -> dict[str, int]:
        """Submit a job for each account whose grace period is over; return how many were new."""
        submitted, after = 0, uuid.UUID(int=0)
        while True:
            context.raise_if_cancelled()
            async with self.engine.connect() as conn:
                due: Sequence[uuid.UUID] = await storage.list_due(conn, after=after, limit=BATCH)
            for answer in await self.jobs_client.submit_many(map(jobs.erase, due)) if due else []:
                if isinstance(answer, worker.SubmittedJob):
                    submitted += 1
                elif not isinstance(answer, errors.AlreadyExists):
                    logger.warning("an erasure was not submitted", extra={"cause": answer.code})
            if len(due) < BATCH:
                return {"submitted": submitted}
            after = due[-1]

    async def erase(self, context: worker.Context, payload: jobs.Payload) -> dict[str, str]:
        """Erase one account in every service, its row last. Every step may run again.

        No log line, progress or result names the user: the job outlives the account.
        """
        deletion_id = ids.parse(payload.deletion_id, "deletion_id")
        erasing = await self._close(deletion_id)
        if erasing is None:
            return {"outcome": "nothing_to_erase"}
        await context.progress(0, STEPS, "Ending access")
        if erasing.erasing_for < self.settle:
            raise worker.Snooze(max(self.settle - erasing.erasing_for, timedelta(seconds=1)))
        await context.progress(1, STEPS, "Revoking access to platforms")
        await self._await_revocations(erasing)
        await context.progress(2, STEPS, "Deleting sample data")
        await self._erase_demo(context, erasing)
        await context.progress(3, STEPS, "Deleting jobs")
        await self._erase_jobs(context, erasing)
        await context.progress(4, STEPS, "Deleting the account")
        await self._erase_events(context, erasing)
        async with self.engine.begin() as conn:
            await account_storage.lock_user(conn, erasing.user_id)
            await storage.erase(conn, erasing)
            origin = audit.Origin(user_id=None, client=domain.NOWHERE)
            await audit.record(conn, audit.Kind.ACCOUNT_DELETED, origin, deletion_id=str(deletion_id))
        await context.progress(STEPS, STEPS, "Account deleted")
        return {"outcome": "erased"}

    async def _erase_events(self, context: worker.Context, erasing: Erasing) -> None:
        """Delete the security events: more than one statement could delete in its time may have gathered in a year."""
        deleted = EVENTS_BATCH
        while deleted == EVENTS_BATCH:
            context.raise_if_cancelled()
            async with self.engine.begin() as conn:
                deleted = await storage.delete_events(conn, erasing.user_id, limit=EVENTS_BATCH)

    async def _close(self, deletion_id: uuid.UUID) -> Erasing | None:
        async with outbox.transaction(self.engine, schema.outbox, self.relay) as tx:
            conn, user_id = tx.conn, await storage.find_user(tx.conn, deletion_id)
            if user_id is None:
                return None
            await account_storage.lock_user(conn, user_id)
            erasing = await storage.close(conn, user_id, deletion_id)
            if erasing is None:
                return None
            reason = domain.RevokeReason.ACCOUNT_DISABLED
            await end_access(tx, audit.Origin(user_id=user_id, client=domain.NOWHERE), reason)
            await factor_storage.void_challenges(conn, user_id)
            for purpose in email_jobs.LINK_LIFETIMES:
                await links.void_link(conn, user_id, purpose)
            await connections.end_of_user(tx, self.effects, user_id)
            return erasing

    async def _await_revocations(self, erasing: Erasing) -> None:
        async with self.engine.begin() as conn:
            if not await storage.has_access(conn, erasing.user_id):
                return
            if erasing.erasing_for < REVOCATION_TIMEOUT:
                raise worker.Snooze(self.wait)
            deleted = await storage.give_up_revocations(conn, erasing.user_id)
        if deleted:
            logger.error("tokens were deleted that no platform has revoked", extra={"count": deleted})

    async def _erase_demo(self, context: worker.Context, erasing: Erasing) -> None:
        """Wait for the child that erases demo data. A later step deletes its row, so its end is saved."""
        is_erased, _ = await context.find_step("demo data")
        if is_erased:
            return
        await context.submit(jobs.DEMO_ERASE, {"owner_id": str(erasing.user_id)})
        if not context.children.total or context.children.ended < context.children.total:
            raise worker.WaitForChildren
        if context.children.unsuccessful:
            raise worker.JobFailed("children_failed", "The sample data could not be deleted.", retryable=False)
        await context.save_step("demo data", True, 0.0)

    async def _erase_jobs(self, context: worker.Context, erasing: Erasing) -> None:
        """Erase the user's jobs, and search all others for mentions: part by part, each until nothing is left in it.

        The search may take longer than an attempt: the next one continues where this one ends.
        """
        async with self.engine.connect() as conn:
            if await storage.has_unsent(conn, erasing):
                raise worker.Snooze(self.wait)
        after = await context.state() or _search_start(erasing)
        while True:
            context.raise_if_cancelled()
            part = await self.jobs_client.erase_owner(str(erasing.user_id), erasing.emails, after_job_id=after)
            if not part.is_complete:
                if not part.deleted_count:
                    raise worker.Snooze(self.wait)
                continue
            if not part.next_job_id:
                return
            after = part.next_job_id
            await context.checkpoint(after)


def _search_start(erasing: Erasing) -> str:
    """Return the id after which jobs may mention the user. Ids begin with their time, and no job knows a guest before it comes.

    The address of other accounts may be known before they are.
    """
    return str(ids.uuid7_of(erasing.created_at - CLOCKS, "")) if erasing.is_guest else ""
