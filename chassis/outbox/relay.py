"""The relay: sends committed messages, polls those that were not accepted, and deletes the rows of accepted ones."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres, run, tracing
from chassis.outbox.messages import RELAY_DELAY, Message
from chassis.prepared import Prepared

logger = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 5.0
"""Seconds between two polls for messages that a crash has left behind."""
DELETE_SECONDS = 0.75
"""Seconds between two passes that delete accepted messages; a message that two passes have seen is deleted."""
SEND_TIMEOUT = 5.0
SENDING_AT_ONCE = 1_000
MAX_RETRY_DELAY = timedelta(seconds=30)
"""Longest time until a message that was not accepted is sent again."""
WAIT_SECONDS = RELAY_DELAY.total_seconds()
"""The longest wait of a poll for the answers to a batch; slower ones delay no other messages."""
ALARM_ATTEMPTS = 20
"""Tries after which a message is logged as an error: nothing short of a bug refuses it for that long."""
_uuids = postgresql.ARRAY(sa.Uuid)
_texts = postgresql.ARRAY(sa.Text)
ResultT = TypeVar("ResultT")


@functools.cache
def _deletion(table: sa.Table) -> Prepared:
    return Prepared(sa.delete(table).where(_is_unlocked(table)))


@functools.cache
def _take_due(table: sa.Table) -> Prepared:
    """Return the statement that takes the messages that are longest due, and puts off their next try.

    It leaves out those whose subjects begin with a prefix in `silent`: the writes of a poll do not grow with their number.
    Each try doubles the time to the next one, up to `MAX_RETRY_DELAY`: a message that is refused again and again does not delay
    others. No transaction is open while the messages are sent.
    """
    silent = sa.any_(sa.bindparam("silent", type_=_texts))
    due = (
        sa.select(table.c.message_id)
        .where(table.c.send_after <= sa.func.now(), sa.not_(table.c.subject.bool_op("^@")(silent)))
        .order_by(table.c.send_after)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    seconds = sa.func.least(
        sa.func.power(2.0, sa.func.least(table.c.attempts, 30) + 1), MAX_RETRY_DELAY.total_seconds()
    )
    return Prepared(
        sa.update(table)
        .where(table.c.message_id == sa.any_(sa.func.array(due.scalar_subquery())))
        .values(attempts=table.c.attempts + 1, send_after=sa.func.now() + seconds * sa.text("interval '1 second'"))
        .returning(*(table.c[name] for name in ("message_id", "subject", "payload", "attempts", "traceparent")))
    )


class _Due(NamedTuple):
    """A message that a poll has taken."""

    message_id: UUID
    subject: str
    payload: bytes
    attempts: int
    traceparent: str | None


@functools.cache
def _return_taken(table: sa.Table) -> Prepared:
    """Return the statement that makes messages due again; the attempt is not counted."""
    values = {"attempts": table.c.attempts - 1, "send_after": sa.func.now()}
    return Prepared(sa.update(table).where(_is_unlocked(table)).values(values))


def _is_unlocked(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition of those of the messages `message_ids` that no transaction has locked.

    Two replicas may have sent the same messages. Their statements lock them in any order: a wait could be a deadlock.
    """
    of_ids = table.c.message_id == sa.any_(sa.bindparam("message_ids", type_=_uuids))
    ids = sa.select(table.c.message_id).where(of_ids).with_for_update(skip_locked=True)
    return table.c.message_id == sa.any_(sa.func.array(ids.scalar_subquery()))


class Relay:
    """Sends the messages of an outbox: after their commit, and by polling those that were not accepted or survived a crash."""

    def __init__(
        self, engine: AsyncEngine, table: sa.Table, routes: Mapping[str, Callable[[str, str, bytes], Awaitable[None]]]
    ) -> None:
        """`routes` maps each subject prefix to the function that sends it; no prefix begins with another.

        `send(message_id, subject, payload)` raises if the message was not accepted; then it is sent again later.
        """
        self._single = postgres.autocommit(engine)
        self._table = table
        self._routes = routes
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[Any]] = set()
        self._accepted: set[UUID] = set()
        self._accepted_before: set[UUID] = set()
        """The accepted messages at the last cleanup."""
        self._unanswered: set[UUID] = set()
        self._poll_at = 0.0
        self._clean_up_at = math.inf

    def send(self, messages: Iterable[Message]) -> None:
        """Send committed messages in background tasks; polls send those that are not accepted.

        Messages are not read back from the table, and rows of accepted ones are deleted in batches.
        """
        for message in messages:
            if len(self._sending) < SENDING_AT_ONCE:
                self._start(self._send_now(message))

    def deletion(self) -> AbstractContextManager[Sequence[UUID]]:
        """Return accepted messages whose rows the transaction in the context deletes."""
        return self._deleting(list(itertools.islice(self._accepted, BATCH)))

    def wake(self) -> None:
        """Poll now instead of at the next interval."""
        self._poll_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Send forever."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            self._clean_up_at = math.inf
            await self._delete_accepted(self._accepted & self._accepted_before)
            self._accepted_before = set(self._accepted)
            if loop.time() >= self._poll_at:
                self._poll_at = loop.time() + run.pause(POLL_SECONDS)
                await self._poll()
            if self._accepted:
                self._clean_up_within(DELETE_SECONDS)
            if not await run.wait(self._wake, max(0.0, self._poll_at - loop.time())):
                # A timer can fire a moment early: the loop would spin until the time has come.
                self._poll_at = 0.0

    async def _poll(self) -> None:
        """Send the messages that are due.

        A route whose receiver answers none of a batch in `WAIT_SECONDS` is left out until the next poll: the messages of other
        routes would wait for it.
        """
        silent: set[str] = set()
        is_complete = False
        while not is_complete:
            async with self._single.connect() as conn:
                rows = await _take_due(self._table).execute(conn, {"silent": list(silent)})
            due = [_Due(*row) for row in rows]
            sends = {self._start(self._send_due(*row)): row for row in due}
            ended = (await asyncio.wait(sends, timeout=WAIT_SECONDS))[0] if sends else set()
            answered = {
                self._route(sends[send].subject) for send in ended if sends[send].message_id not in self._unanswered
            }
            silent |= {self._route(row.subject) for row in due} - answered
            await self._delete_accepted(self._accepted)
            if refused := [cause for send in ended if (cause := send.result())]:
                logger.warning(
                    "messages were not accepted and stay in the outbox",
                    extra={"count": len(refused), "cause": refused[0]},
                )
            is_complete = len(due) < BATCH
        # Not before the end: they are due again.
        await self._return_unanswered()

    def _start(self, send: Coroutine[None, None, ResultT]) -> asyncio.Task[ResultT]:
        task = asyncio.create_task(send)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    async def _return_unanswered(self) -> None:
        """Return messages whose receiver does not answer. A replica that reaches it sends them with its next poll."""
        if unanswered := list(self._unanswered):
            self._unanswered.clear()
            async with self._single.connect() as conn:
                await _return_taken(self._table).execute(conn, {"message_ids": unanswered})

    async def _delete_accepted(self, accepted: Collection[UUID]) -> None:
        """Delete the rows of accepted messages, by one statement."""
        if accepted:
            with self._deleting(accepted) as message_ids:
                async with self._single.connect() as conn:
                    await _deletion(self._table).execute(conn, {"message_ids": message_ids})

    @contextmanager
    def _deleting(self, message_ids: Collection[UUID]) -> Iterator[Sequence[UUID]]:
        """Take accepted messages for a deletion; they return if it fails."""
        taken = list(message_ids)
        self._accepted.difference_update(taken)
        try:
            yield taken
        except BaseException:
            if taken:
                self._accepted.update(taken)
                self._clean_up_within(DELETE_SECONDS)
            raise

    async def _send_due(
        self, message_id: UUID, subject: str, payload: bytes, attempts: int, traceparent: str | None
    ) -> str:
        """Send a message that a poll has taken; return why it was not accepted, or an empty string."""
        try:
            await self._send(str(message_id), subject, payload, traceparent or "")
        except (errors.Unavailable, OSError) as error:
            self._unanswered.add(message_id)
            self._poll_soon()
            return repr(error)[:200]
        except Exception as error:
            self._poll_soon()
            if attempts >= ALARM_ATTEMPTS:
                logger.exception(
                    "a message is refused again and again",
                    extra={"message_id": message_id, "subject": subject, "attempts": attempts},
                )
            return repr(error)[:200]
        self._on_accepted(message_id)
        return ""

    async def _send_now(self, message: Message) -> None:
        try:
            await self._send(str(message.message_id), message.subject, message.payload, message.traceparent)
        except Exception as error:  # noqa: BLE001 - the polls send it again and log failures
            logger.debug("a message was not accepted and stays in the outbox", extra={"cause": repr(error)[:200]})
            self._poll_soon()
        else:
            self._on_accepted(message.message_id)

    def _on_accepted(self, message_id: UUID) -> None:
        self._accepted.add(message_id)
        self._clean_up_within(DELETE_SECONDS)

    def _clean_up_within(self, seconds: float) -> None:
        """Begin the next cleanup within `seconds`. While no message is accepted, cleanups are as rare as polls."""
        loop = asyncio.get_running_loop()
        if (due := loop.time() + seconds) < self._clean_up_at:
            self._clean_up_at = due
            loop.call_at(due, self._wake.set)

    def _poll_soon(self) -> None:
        """Poll when the refused messages are due again, not only at the next interval."""
        seconds = RELAY_DELAY.total_seconds()
        self._poll_at = min(self._poll_at, asyncio.get_running_loop().time() + seconds)
        self._clean_up_within(seconds)

    async def _send(self, message_id: str, subject: str, payload: bytes, traceparent: str) -> None:
        send = self._routes.get(self._route(subject))
        if send is None:
            raise LookupError(f"no route for {subject}")
        with tracing.use_position(traceparent), tracing.span("outbox", "producer"):
            async with asyncio.timeout(SEND_TIMEOUT):
                await send(message_id, subject, payload)

    def _route(self, subject: str) -> str:
        """Return the prefix whose function sends a message; the subject itself if there is none."""
        return next((prefix for prefix in self._routes if subject.startswith(prefix)), subject)
