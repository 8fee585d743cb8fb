"""NATS through FastStream: publish and consume events, and survive a NATS that is down, restarted or emptied.

Three settings differ from FastStream's defaults. Acknowledgement is manual: the default drops a message whose handler failed
once. Reconnecting never stops: the default gives up after two minutes, and its pull loop then spins. Publishing has a deadline.
Correctness does not depend on NATS: every consumer also polls.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.message import NatsMessage
from faststream.nats.security import NatsSecurity
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from chassis import deliveries, errors, interest, metrics, run, streams, tls, tracing
from chassis.deliveries import Deliver, Handler, Received, Undecodable, received

__all__ = ["Bus", "Handler", "Received", "Undecodable"]

logger = logging.getLogger(__name__)

EXIT_BUS_CLOSED = 70
PUBLISH_TIMEOUT = 5.0
CONNECT_SECONDS = 10.0
"""Time to open the first connection, with several tries. After a failed TLS handshake the client can wait forever."""
LOST_SECONDS = 20.0
"""Time in which a client must restore a lost connection. After that a new client replaces it."""
CLOSE_SECONDS = 5.0
ENSURE_SECONDS = 15.0
"""Pause between checks of streams and consumers. A check follows at once on a reconnect, a refused event and a failed check."""
REFUSED_SECONDS = 1.0
"""Pause before a consumer that is gone is asked again. FastStream would ask at once, thousands of times a second."""
AWAY_SECONDS = 5.0
"""Pause between polls while NATS is away."""
_WATCH_SECONDS = 5.0
_LOST = (NatsError, OSError, RuntimeError)
"""Errors of a connection that is lost. uvloop raises `RuntimeError` for a closed socket."""


class Bus:
    """The connection of one process to NATS."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        translate: run.Translate = lambda error: None,
        certificate: tls.Certificate | None = None,
    ) -> None:
        """`translate` recognises errors of an unavailable dependency.

        With `certificate`, the connection is encrypted and the certificate of NATS is verified.
        """
        self._translate = translate
        self._certificate = certificate
        self._used_material = certificate.material() if certificate else None
        self._inbox_prefix = streams.inbox_prefix(url)
        self._replicas = streams.replicas(url)
        self._client: Client | None = None
        self.interests = interest.Interests()
        """Subscriptions that last only as long as something needs them."""
        self._subscriptions: list[tuple[str, Callable[[Msg], Awaitable[None]]]] = []
        self._consumers: list[tuple[str, str, Sequence[str], Deliver]] = []
        self._stream: str | None = None
        self._on_connected: list[Callable[[], None]] = []
        self._on_changed: list[Callable[[], None]] = []
        self._name = name
        self._servers = streams.servers(url)
        self._broker: NatsBroker | None = None
        self._stopping = False
        self._callbacks_notified = False
        """Whether the callbacks of `on_connected` were called for this connection."""
        self._connected_at = 0.0
        """When the connection was last seen, by the clock of the event loop."""
        self._ensure_at = 0.0
        """When streams and consumers are checked again, by the same clock."""

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def is_caught_up(self) -> bool:
        """Whether the connection is up and all `on_connected` callbacks know of it: no message is missed now."""
        return self._callbacks_notified and self.is_connected

    def owns_stream(self, service: str) -> None:
        """Mark this process as publisher of the events of `service`; it recreates the stream if it is gone."""
        self._stream = service
        metrics.NATS_STORE_FAILURES.labels(streams.stream_name(service))

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each connect and reconnect: messages without a stream may have been missed until then."""
        self._on_connected.append(callback)

    async def every(self, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
        """Call `step` forever to repair what lost messages would have done.

        It is called after each connect and disconnect, up to `seconds` after the last call while NATS is connected, and up to
        `AWAY_SECONDS` after it while NATS is away.
        """
        changed = asyncio.Event()
        self._on_changed.append(changed.set)
        try:
            while True:
                changed.clear()
                await step()
                pause = seconds if self.is_caught_up else min(seconds, AWAY_SECONDS)
                await run.wait(changed, run.pause(pause))
        finally:
            self._on_changed.remove(changed.set)

    def on_changed(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each connect, as the last one, and after each disconnect."""
        self._on_changed.append(callback)

    def subscribe(self, subject: str, handler: Handler) -> None:
        """Call `handler` for messages on `subject` from now on; messages sent while disconnected are lost."""

        async def receive(message: Msg) -> None:
            try:
                with tracing.receiving(message.subject, message.headers):
                    await handler(received(message))
            except Exception:
                logger.exception("message could not be handled", extra={"subject": subject})

        self._subscriptions.append((subject, receive))

    def consume(self, service: str, durable: str, handler: Handler, *, filters: Sequence[str] = (">",)) -> None:
        """Call `handler` for every event of `service`, at least once, as `deliveries.acknowledge_after` does.

        `filters` select subjects by what follows `<service>.events.`.
        """
        self._consumers.append(
            (service, durable, filters, deliveries.acknowledge_after(service, handler, self._translate))
        )

    async def publish(self, message_id: str, subject: str, payload: bytes) -> None:
        """Publish an event and wait until its stream has stored it. Raises if that is not certain; then publish it again."""
        self._require_connection()
        assert self._broker is not None  # noqa: S101 - it has opened the connection
        stream = streams.stream_name(subject.partition(".")[0])
        with tracing.sending(subject):
            headers = {"Nats-Msg-Id": message_id, **(tracing.headers() or {})}
            try:
                await self._broker.publish(payload, subject, headers=headers, stream=stream, timeout=PUBLISH_TIMEOUT)
            except BaseException:
                self._ensure_at = 0.0
                # A stream whose disk was full answers nothing until NATS is restarted, although the connection is fine: then the
                # deadline of the caller ends the call, by a cancellation.
                if self.is_connected:
                    metrics.NATS_STORE_FAILURES.labels(stream).inc()
                raise

    async def broadcast(self, subject: str, payload: bytes) -> None:
        """Send a message that may be lost; do nothing while NATS is away."""
        if self._client is not None and self._client.is_connected:
            with tracing.sending(subject):
                async with asyncio.timeout(PUBLISH_TIMEOUT):
                    await self._client.publish(subject, payload, headers=tracing.headers())

    async def run(self) -> None:
        """Connect, subscribe, and recreate missing streams and consumers, until the connection stays lost; then raise."""
        self._stopping = False
        try:
            self._broker = self._new_broker()
            async with asyncio.timeout(CONNECT_SECONDS):
                self._client = await self._broker.connect()
            await self._ensure()
            await self._broker.start()
            for subscriber in self._broker.subscribers:
                _pause_after_refusals(subscriber)
            # Without FastStream, as in `broadcast`: these messages may be lost, and each costs a tenth of the time.
            for subject, receive in self._subscriptions:
                await self._client.subscribe(subject, cb=receive)
            await self.interests.attach(self._client)
            self._handle_connect()
            await run.every(_WATCH_SECONDS, self._watch)
        except (NatsError, OSError) as error:
            raise errors.Unavailable("NATS isn't responding. Try again.", code="nats_unavailable") from error
        finally:
            self._stopping = True
            await self._disconnect()

    async def _disconnect(self) -> None:
        """End all subscriptions and the connection, which may be lost or closed."""
        client, self._client = self._client, None
        try:
            # The client would end each subscription by a round trip.
            await self.interests.detach()
            if self._broker is not None and client is not None:
                # Before the connection: a subscriber asks a closed one again and again, and nothing else runs.
                await self._broker.stop()
        except* _LOST as lost:
            logger.debug("NATS did not take the last commands", extra={"cause": repr(lost.exceptions)[:200]})
        finally:
            if client is not None:
                await _close(client)
            await self._handle_disconnect()

    def _new_broker(self) -> NatsBroker:
        """Return a broker for one connection. A broker keeps a closed connection, so the next one needs another broker."""
        broker = NatsBroker(
            self._servers,
            name=self._name,
            security=NatsSecurity(
                ssl_context=self._certificate.client_context(),
                use_ssl=True,
                # Before the server's greeting: an attacker could change the greeting to deny encryption.
                tls_handshake_first=True,
            )
            if self._certificate
            else None,
            inbox_prefix=self._inbox_prefix,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=3,
            # A connection that broke silently is noticed after 10 to 15 s.
            ping_interval=5,
            max_outstanding_pings=2,
            graceful_timeout=5.0,
            ack_policy=AckPolicy.MANUAL,
            # Handlers take the whole message: injecting it would run a thread and a task group per message.
            decoder=_keep_encoded,
            apply_types=False,
            logger=None,
            reconnected_cb=self._handle_reconnect,
            disconnected_cb=self._handle_disconnect,
            closed_cb=self._handle_close,
            error_cb=self._handle_error,
        )
        for service, durable, filters, deliver in self._consumers:
            broker.subscriber(
                streams.events_subject(service, filters[0]),  # `streams` creates the consumer, with all filters
                stream=JStream(streams.stream_name(service), declare=False),
                durable=durable,
                pull_sub=PullSub(batch_size=20, timeout=5.0),
                no_reply=True,
                inbox_prefix=f"{self._inbox_prefix}.".encode(),
            )(deliver)
        return broker

    async def _watch(self) -> None:
        await self._renew_certificate()
        metrics.note_certificate(self._certificate)
        now = asyncio.get_running_loop().time()
        if not self.is_connected:
            if self._callbacks_notified:
                # Before the client says so: first it waits for the end of TLS, which a frozen server does not confirm.
                await self._handle_disconnect()
            if now - self._connected_at >= LOST_SECONDS:
                raise ConnectionError("the connection stays lost")
            return
        self._connected_at = now
        if now < self._ensure_at:
            return
        try:
            await self._ensure()
        except (NatsError, OSError) as error:
            # JetStream can be unavailable (an election, a slow disk) while plain subscriptions still work.
            self._ensure_at = 0.0
            logger.warning("JetStream does not answer", extra={"cause": repr(error)[:200]})

    async def _renew_certificate(self) -> None:
        if self._certificate is None or self._client is None or self._certificate.material() is self._used_material:
            return
        try:
            self._client.options["tls"] = self._certificate.client_context()
        except tls.CertificateUnusable:
            return  # the files are being replaced
        self._used_material = self._certificate.material()
        # A connection keeps the certificates it was opened with. Messages may be missed, as in any reconnect.
        await self._client.force_reconnect()

    async def _ensure(self) -> None:
        # A pull loop whose consumer was deleted spins silently, and a server that lost its store has no consumers.
        self._ensure_at = asyncio.get_running_loop().time() + ENSURE_SECONDS
        js = self._require_connection().jetstream(timeout=PUBLISH_TIMEOUT)
        if self._stream:
            stream = await streams.ensure_stream(js, self._stream, self._replicas)
            metrics.NATS_STREAM_BYTES.labels(stream.config.name).set(stream.state.bytes)
            metrics.NATS_STREAM_MAX_BYTES.labels(stream.config.name).set(stream.config.max_bytes or 0)
        for service, durable, filters, _ in self._consumers:
            consumer, is_new = await streams.ensure_consumer(js, service, durable, filters, replicas=self._replicas)
            unhandled = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            metrics.NATS_CONSUMER_PENDING.labels(consumer.stream_name, durable).set(unhandled)
            if is_new:
                logger.warning("recreated a missing consumer", extra={"stream": service, "consumer": durable})

    def _require_connection(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise ConnectionError("NATS does not answer")
        return self._client

    def _handle_connect(self) -> None:
        logger.info("connected to NATS")
        self._connected_at = asyncio.get_running_loop().time()
        metrics.NATS_CONNECTED.set(1)
        metrics.NATS_CONNECTS.inc()
        for callback in self._on_connected:
            callback()
        self._callbacks_notified = True
        self._notify_changed()

    def _notify_changed(self) -> None:
        for callback in self._on_changed:
            callback()

    async def _handle_reconnect(self) -> None:
        self._ensure_at = 0.0
        await self.interests.attach(self._require_connection())
        self._handle_connect()

    async def _handle_disconnect(self) -> None:
        if self._callbacks_notified and not self._stopping:
            logger.warning("lost NATS; trying again every second")
        self._callbacks_notified = False
        self._notify_changed()
        metrics.NATS_CONNECTED.set(0)

    async def _handle_error(self, error: Exception) -> None:
        client = self._client
        if client is not None and client.is_connected and asyncio.current_task() is client._reconnection_task:
            # The server stopped answering after the handshake. The client would leave this connection beside the next one.
            await client.force_reconnect()
        # Other errors surface where they occur; a rejected subscription would only receive nothing.
        if "permissions violation" in str(error).lower():
            logger.error("NATS rejects an operation: missing permission", extra={"cause": str(error)[:200]})

    async def _handle_close(self) -> None:
        # With endless reconnects only an unrecoverable error closes a connection, and nothing in this process can reopen it.
        if not self._stopping:
            logger.critical("the NATS connection was closed for good")
            await asyncio.sleep(0.1)
            os._exit(EXIT_BUS_CLOSED)


def _pause_after_refusals(subscriber: Any) -> None:
    """Let a subscriber ask its consumer again only after a pause, unless the consumer just has no message."""
    subscription = subscriber.subscription
    fetch = subscription.fetch

    async def fetch_or_pause(*arguments: Any, **options: Any) -> Any:
        try:
            return await fetch(*arguments, **options)
        except TimeoutError:
            raise
        except Exception:
            await asyncio.sleep(REFUSED_SECONDS)
            raise

    subscription.fetch = fetch_or_pause


async def _close(client: Client) -> None:
    """Close a connection in any state."""
    if not client.is_connected:
        # Otherwise the client fails to write its buffer, and leaves its tasks behind.
        client._pending, client._pending_data_size = [], 0
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()
    except asyncio.CancelledError:
        # A frozen server never confirms the end of TLS: the client has cancelled one wait for that, which cancels its next one.
        if run.is_being_cancelled():
            raise
    except _LOST as error:
        logger.debug("NATS did not confirm the end of its connection", extra={"cause": repr(error)[:200]})


async def _keep_encoded(message: NatsMessage) -> NatsMessage:
    return message
