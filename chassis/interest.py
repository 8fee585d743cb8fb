"""Subscriptions of a process that last as long as something in it needs their messages, such as one user's open pages.

NATS delivers a message only to the processes that need it. To follow a state without a gap, wait until the server has confirmed
the subscription, then read the state: every later change arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from chassis import tracing

logger = logging.getLogger(__name__)

CONFIRM_SECONDS = 1.0
"""How long `Interest.wait` waits at most."""
_ANSWER_SECONDS = 2.0
_RETRY_SECONDS = 0.5

Receive = Callable[[str, bytes], None]
"""Takes the subject and the payload of a message."""


class _Inbox(asyncio.Future[Msg]):
    """Delivers each message within the loop that reads the connection.

    A subscription with a callback has a task of its own; one with a future calls `set_result` for each message.
    """

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._receive = receive

    def stop(self) -> None:
        self._receive = _ignore

    def set_result(self, message: Msg, /) -> None:
        """Deliver a message to the callback."""
        try:
            with tracing.receiving(message.subject, message.headers):
                self._receive(message.subject, message.data)
        except Exception:
            # An exception would end the connection.
            logger.exception("message could not be handled", extra={"subject": message.subject})


def _ignore(subject: str, payload: bytes) -> None:
    pass


def _nothing() -> None:
    pass


class Interest:
    """Subjects that are subscribed to until `close`."""

    __slots__ = ("_confirmed", "_interests", "_is_late", "_on_late", "inbox", "subjects", "subscriptions")

    def __init__(
        self, interests: Interests, subjects: Sequence[str], receive: Receive, on_late: Callable[[], None]
    ) -> None:
        self.subjects = subjects
        self.inbox = _Inbox(receive)
        self.subscriptions: list[Subscription] = []
        self._confirmed: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._interests = interests
        self._is_late = False
        self._on_late = on_late

    async def wait(self) -> bool:
        """Wait until messages arrive; False without a connection, or if the server does not answer within a second.

        After False, messages may be missed until the subscriptions are confirmed: then `on_late` is called.
        """
        if self._confirmed is None:
            return True
        if self._interests.is_answering:
            await asyncio.wait({self._confirmed}, timeout=CONFIRM_SECONDS)
        self._is_late = self._confirmed is not None
        return not self._is_late

    def confirm(self) -> None:
        """Note that the server has confirmed the subscriptions."""
        if self._confirmed is not None:
            self._confirmed.set_result(None)
            self._confirmed = None
        if self._is_late:
            self._is_late = False
            self._on_late()

    def close(self) -> None:
        """End the subscriptions."""
        self._interests.close(self)

    def release(self) -> None:
        """Drop the callbacks: they reference the owner of this interest."""
        self.inbox.stop()
        self._on_late = _nothing


class Interests:
    """The interests of one process."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._open: set[Interest] = set()
        self._unconfirmed: dict[Interest, None] = {}
        self._closed: list[Interest] = []
        self._lock = asyncio.Lock()
        self._applying: asyncio.Task[None] | None = None
        self._confirming_since: float | None = None
        # Each subscription comes with a queue of 3 KiB that its inbox leaves empty.
        self._no_queue: asyncio.Queue[Msg] = asyncio.Queue()

    @property
    def count(self) -> int:
        return len(self._open)

    @property
    def is_answering(self) -> bool:
        """Whether NATS is connected and no confirmation is overdue."""
        if self._client is None or not self._client.is_connected:
            return False
        since = self._confirming_since
        return since is None or asyncio.get_running_loop().time() - since < CONFIRM_SECONDS

    def open(self, subjects: Sequence[str], receive: Receive, on_late: Callable[[], None] = _nothing) -> Interest:
        """Subscribe to subjects, now or as soon as NATS is connected, and after each reconnect.

        `receive` must be quick: it delays all other messages. The caller bounds the number of interests.
        """
        interest = Interest(self, subjects, receive, on_late)
        self._open.add(interest)
        self._unconfirmed[interest] = None
        self._start()
        return interest

    def close(self, interest: Interest) -> None:
        """End the subscriptions of an interest."""
        if interest in self._open:
            self._open.discard(interest)
            interest.release()
            self._unconfirmed.pop(interest, None)
            if interest.subscriptions or self._lock.locked():
                self._closed.append(interest)
                self._start()

    async def attach(self, client: Client) -> None:
        """Subscribe over a new connection, and confirm all its subscriptions. Raises `NatsError`, `OSError`."""
        self._client = client
        async with self._lock:
            await self._apply(client)
            await self._confirm(client)

    async def detach(self) -> None:
        """End all subscriptions before the connection ends; `attach` brings them back."""
        client, self._client = self._client, None
        async with self._lock:
            for interest in [*self._open, *self._closed]:
                subscriptions, interest.subscriptions = interest.subscriptions, []
                with contextlib.suppress(NatsError):
                    for subscription in subscriptions if client is not None and client.is_connected else ():
                        await subscription.unsubscribe()
            self._closed.clear()
            self._unconfirmed = dict.fromkeys(self._open)

    def _start(self) -> None:
        if (self._applying is None or self._applying.done()) and self._client is not None:
            self._applying = asyncio.create_task(self._run(), name="interests")

    async def _run(self) -> None:
        # Without a connection, `attach` does it on the next one.
        while (self._unconfirmed or self._closed) and self._client is not None and self._client.is_connected:
            try:
                async with self._lock:
                    await self._apply(self._client)
            except (NatsError, OSError) as error:
                logger.warning("NATS does not confirm subscriptions", extra={"cause": repr(error)[:200]})
                await asyncio.sleep(_RETRY_SECONDS)

    async def _apply(self, client: Client) -> None:
        """Subscribe to what is new, unsubscribe from what was closed, and confirm all that by one round trip."""
        opened = list(self._unconfirmed)
        for interest in opened:
            for subject in interest.subjects[len(interest.subscriptions) :]:
                subscription = await client.subscribe(subject, future=interest.inbox)
                subscription._pending_queue = self._no_queue
                interest.subscriptions.append(subscription)
        # Last: an interest may have been closed meanwhile.
        while self._closed:
            for subscription in self._closed.pop().subscriptions:
                await subscription.unsubscribe()
        if not opened:
            return
        await self._confirm(client)
        for interest in opened:
            self._unconfirmed.pop(interest, None)
            interest.confirm()

    async def _confirm(self, client: Client) -> None:
        """Wait until the server has handled all earlier commands. Raises `TimeoutError`."""
        loop = asyncio.get_running_loop()
        self._confirming_since = loop.time()
        # Not `Client.flush`: its ping overtakes buffered commands, and a pong after its timeout ends the loop that reads.
        written, pong = loop.create_future(), loop.create_future()
        await client._flush_queue.put(written)  # type: ignore[union-attr]
        async with asyncio.timeout(_ANSWER_SECONDS):
            await asyncio.wait({written})
            await client._send_ping(pong)
            await asyncio.wait({pong})
        self._confirming_since = None
