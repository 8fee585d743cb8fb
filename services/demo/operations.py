"""What the demo service does. Each operation is one transaction: the change, its event, and what must follow from it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, ids, outbox, postgres
from repruv.jobs.v1 import job_pb2
from services.demo import announcements, convert, domain, schema, storage, submissions, wishes
from services.demo.domain import Action, Mode, State
from worker import JobsClient
from worker import outbox as worker_outbox

logger = logging.getLogger(__name__)

KEY_LIFETIME = timedelta(hours=24)
KEY_LENGTH = 255

_Accept = Callable[[AsyncConnection, UUID], Awaitable[Mode | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to an enable or disable."""

    mode: Mode
    job_id: UUID
    is_replayed: bool


class Operations:
    """The operations on demo modes, over one database and the jobs service."""

    def __init__(
        self, engine: AsyncEngine, jobs: JobsClient, submits: submissions.Submissions, relay: outbox.Relay
    ) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._jobs = jobs
        self._submits = submits
        self._relay = relay

    async def enable(
        self,
        owner_id: UUID,
        *,
        profile_type: str,
        niche: str,
        content_count: int | None,
        interaction_count: int | None,
        expire_after: timedelta | None = None,
        key: str,
    ) -> Accepted:
        """Accept to build demo data, and to disable it by itself so long after it was enabled.

        Raises `InvalidArgument`, `FailedPrecondition`, or `AlreadyExists` for the key.
        """
        wish = wishes.resolve(profile_type, niche, content_count, interaction_count, expire_after)
        asked = (
            profile_type or wishes.AUTO,
            niche or wishes.AUTO,
            wish.content_count,
            wish.interaction_count,
            # Only if it was asked for: keys that came before there was such a thing mean the same request as before.
            *((str(expire_after),) if expire_after else ()),
        )

        async def accept(conn: AsyncConnection, job_id: UUID) -> Mode | None:
            return await storage.accept_enable(conn, owner_id, job_id, wish)

        return await self._accept(owner_id, Action.ENABLE, accept, key, request=("enable", *asked))

    async def disable(self, owner_id: UUID, *, key: str) -> Accepted:
        """Accept to remove the demo data. Raises `FailedPrecondition`, or `AlreadyExists` for the key."""

        async def accept(conn: AsyncConnection, job_id: UUID) -> Mode | None:
            return await storage.accept_disable(conn, owner_id, job_id)

        return await self._accept(owner_id, Action.DISABLE, accept, key, request=("disable",))

    async def expire(self, owner_id: UUID) -> bool:
        """Disable as the owner would, if the time of this demo mode has come; says whether it had."""

        async def accept(conn: AsyncConnection, job_id: UUID) -> Mode:
            if (mode := await storage.accept_expire(conn, owner_id, job_id)) is None:
                # Its owner was faster.
                raise errors.FailedPrecondition("This demo mode has not expired.", code="demo_not_expired")
            return mode

        try:
            await self._accept(owner_id, Action.DISABLE, accept, "", request=())
        except errors.FailedPrecondition:
            return False
        return True

    async def dismiss(self, owner_id: UUID) -> Mode:
        """Leave a failure behind; nothing if demo mode is disabled. Raises `demo_not_failed`."""
        async with self._engine.begin() as conn:
            mode = await storage.dismiss(conn, owner_id)
            if mode is None:
                mode = await storage.get_mode(conn, owner_id)
                if mode.state is not State.DISABLED:
                    raise domain.refusal(Action.DISMISS, mode.state)
                return mode
            await announcements.announce(conn, mode, Action.DISMISS)
        self._relay.wake()
        return mode

    async def get(self, owner_id: UUID) -> tuple[Mode, job_pb2.Job | None]:
        """Read a demo mode with the job that moves it or failed in it; a state the job has left behind is repaired first."""
        async with self._single.connect() as conn:
            mode = await storage.get_mode(conn, owner_id)
        if mode.job_id is None or mode.state not in domain.TRANSITIONAL | {State.FAILED}:
            return mode, None
        try:
            job = await self._jobs.get(str(mode.job_id))
        except errors.Error as error:
            logger.warning("answered without the job", extra={"job_id": mode.job_id, "cause": error.code})
            return mode, None
        if job is None:
            # Accepted, and not submitted yet: the outbox will.
            return mode, None
        news = convert.news_from_proto(job)
        if news and domain.settle(mode, news):
            mode = await self.settle(news)
        return mode, job

    async def settle(self, news: domain.JobNews, *, message_id: str = "") -> Mode:
        """Let news of a job have its effect, at most once for the event `message_id`; gives how demo mode stands."""
        async with self._single.connect() as conn:
            mode = await storage.get_mode(conn, news.owner_id)
        if not domain.matters(mode, news):
            return mode
        async with self._engine.begin() as conn:
            mode = await storage.get_mode(conn, news.owner_id, lock=True)
            if not domain.matters(mode, news):
                return mode
            if message_id and not await outbox.first_time(conn, schema.inbox, consumer="jobs", message_id=message_id):
                return mode
            if (verdict := domain.settle(mode, news)) is None:
                await storage.note_job(conn, news.owner_id, news.version)
                return mode
            action, error = verdict
            has_ended = news.phase not in {domain.JobPhase.WAITING, domain.JobPhase.HELD}
            settled = await storage.close(
                conn, mode, action, error=error, attempt=news.attempt if has_ended else None, job_version=news.version
            )
            if settled is None:
                raise errors.Internal("A locked demo mode changed its state.")
            await announcements.announce(conn, settled, action)
        self._relay.wake()
        logger.info("settled", extra={"job_id": news.job_id, "action": action.value, "state": settled.state.value})
        return settled

    async def check(self, mode: Mode) -> None:
        """Ask how the job of a transition stands, and settle that; a job that was never submitted is submitted now."""
        job = await self._jobs.get(str(mode.job_id))
        if job is None:
            # Also when the outbox still holds it: the submit is idempotent.
            await self._submits.submit(convert.submit_to_proto(mode))
        elif news := convert.news_from_proto(job):
            await self.settle(news)

    async def _accept(
        self, owner_id: UUID, action: Action, accept: _Accept, key: str, request: tuple[object, ...]
    ) -> Accepted:
        _check_key(key)
        job_id = ids.uuid7()
        async with self._engine.begin() as conn:
            if key:
                first = await _bind_key(conn, owner_id, key, request, job_id)
                if first != job_id:
                    return Accepted(mode=await storage.get_mode(conn, owner_id), job_id=first, is_replayed=True)
            mode = await accept(conn, job_id)
            if mode is None:
                raise domain.refusal(action, (await storage.get_mode(conn, owner_id)).state)
            messages = [announcements.event(mode, action), worker_outbox.submit_message(convert.submit_to_proto(mode))]
            await outbox.add(conn, schema.outbox, messages)
        self._relay.send(messages)
        return Accepted(mode=mode, job_id=job_id, is_replayed=False)


def _check_key(key: str) -> None:
    if len(key) > KEY_LENGTH or "\x00" in key:
        message = f"idempotency_key must be at most {KEY_LENGTH} characters, without NUL."
        raise errors.InvalidArgument(message, field="idempotency_key")


async def _bind_key(conn: AsyncConnection, owner_id: UUID, key: str, request: tuple[object, ...], job_id: UUID) -> UUID:
    """Give the job of the first request with this key: `job_id` if it is this one. Raises `idempotency_key_reused`."""
    request_hash = hashlib.sha256(repr(request).encode()).digest()
    bound_hash, bound_job = await storage.claim_key(
        conn, owner_id, key, request_hash=request_hash, job_id=job_id, lifetime=KEY_LIFETIME
    )
    if bound_hash != request_hash:
        raise errors.AlreadyExists(
            "This idempotency key came with another request before; use a new one.",
            code="idempotency_key_reused",
            field="idempotency_key",
        )
    return bound_job
