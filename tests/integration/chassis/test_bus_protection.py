"""NATS as deployed: encryption, one account per service, and permissions of accounts."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import nats
import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from chassis import bus, run, streams, tls
from dev.embedded.nats_server import DEPLOYED, Nats, Protection
from dev.launcher import certificates as local
from provision import certificates, keys, services
from provision import streams as provisioning
from tests.integration.chassis.bus_runner import running

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Certificates = Callable[[str], tls.Certificate]

# A client that is refused leaves its connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PASSWORD = "p1"
CONNECT_SECONDS = 60
SAYS = {
    "auth": {"auth.events.u", "auth.events.connections.u"},
    "demo": {"demo.events.u"},
    "jobs": {
        "jobs.events.demo.enable",
        "jobs.routine_events.demo.enable",
        "jobs.live_events.u",
        "jobs.progress.u",
        "jobs.wake.demo.enable",
        "jobs.cancel",
    },
    "gateway": set[str](),
    "provision": set[str](),
}
HEARS = {
    "auth": {"jobs.cancel"},
    "demo": {"jobs.cancel"},
    "jobs": {"jobs.events.demo.enable", "jobs.routine_events.demo.enable", "jobs.live_events.u", "jobs.progress.u",
             "jobs.wake.demo.enable", "jobs.cancel"},
    "gateway": {
        "auth.events.u", "auth.events.connections.u", "demo.events.u", "jobs.events.demo.enable",
        "jobs.routine_events.demo.enable", "jobs.live_events.u", "jobs.progress.u", "jobs.*.u",
    },
    "provision": set[str](),
}  # fmt: skip
ALL = set[str]().union(*SAYS.values())
FOREIGN = {
    "auth": {"$JS.API.STREAM.DELETE.AUTH", "$JS.API.STREAM.INFO.DEMO", "$JS.API.CONSUMER.DELETE.JOBS.demo"},
    "demo": {"$JS.API.STREAM.DELETE.DEMO", "$JS.API.STREAM.PURGE.JOBS", "$JS.API.CONSUMER.CREATE.JOBS.auth.x",
             "$JS.API.CONSUMER.MSG.NEXT.JOBS.auth", "$JS.ACK.JOBS.auth.1", "_INBOX.gateway.x"},
    "jobs": {"$JS.API.STREAM.DELETE.JOBS", "$JS.API.STREAM.CREATE.DEMO", "$JS.API.CONSUMER.CREATE.JOBS.demo.x"},
    "gateway": {"$JS.API.STREAM.INFO.JOBS", "$JS.API.CONSUMER.CREATE.JOBS.x.y", "$JS.API.INFO", "anything"},
    "provision": {"$JS.API.STREAM.DELETE.JOBS", "$JS.API.STREAM.MSG.GET.JOBS", "$JS.API.CONSUMER.DELETE.JOBS.demo"},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A NATS as deployed, with separate certificates in its data directory."""
    folder = tmp_path_factory.mktemp("protected")
    local.make(folder)
    protection = Protection(
        certificate=local.load_certificate(folder, "nats"), passwords=dict.fromkeys(keys.NATS_PASSWORDS, PASSWORD)
    )
    engine = Nats(folder, protection=protection)
    engine.start()
    asyncio.run(
        provisioning.provision(
            engine.url_for("provision", PASSWORD),
            services.SERVICES,
            seconds=60.0,
            certificate=server_certificate(engine, "provision"),
        )
    )
    yield engine
    engine.erase()


def server_certificate(server: Nats, user: str) -> tls.Certificate:
    return local.load_certificate(server.data_dir, user)


@asynccontextmanager
async def connected(server: Nats, user: str, refused: list[str] | None = None) -> AsyncIterator[Client]:
    """Connect as a service does, and record refusals."""

    async def note(error: Exception) -> None:
        if refused is not None:
            refused.append(str(error))

    client = await nats.connect(
        server.url_for(user, PASSWORD),
        tls=server_certificate(server, user).client_context(),
        tls_handshake_first=True,
        inbox_prefix=f"_INBOX.{user}",
        connect_timeout=CONNECT_SECONDS,
        error_cb=note,
    )
    yield client
    await client.close()


def all_refused(subjects: set[str], messages: list[str]) -> Callable[[], Awaitable[bool]]:
    """Whether the server has refused each of the subjects."""

    async def check() -> bool:
        return all(any(f'"{subject}"'.lower() in message.lower() for message in messages) for subject in subjects)

    return check


@pytest.mark.parametrize("user", SAYS)
async def test_service_publishes_only_its_own_subjects(server: Nats, user: str, eventually: Eventually) -> None:
    refused: list[str] = []
    async with connected(server, user, refused) as client:
        for subject in SAYS[user]:
            await client.publish(subject, b"")
        await client.flush()
        assert refused == []
        others = (ALL - SAYS[user]) | FOREIGN[user]
        for subject in others:
            await client.publish(subject, b"")
        await eventually(all_refused(others, refused))


@pytest.mark.parametrize("user", HEARS)
async def test_service_subscribes_only_to_permitted_subjects(server: Nats, user: str, eventually: Eventually) -> None:
    refused: list[str] = []
    async with connected(server, user, refused) as client:
        for subject in HEARS[user]:
            await client.subscribe(subject)
        await client.flush()
        assert refused == []
        inboxes = {f"_INBOX.{other}.>" for other in SAYS if other != user}
        others = (ALL - HEARS[user]) | inboxes | {"_INBOX.>", ">", "$JS.>", "*.events.>", "$SYS.>"}
        for subject in others:
            await client.subscribe(subject)
        await eventually(all_refused(others, refused))


async def test_messages_of_jobs_reach_their_subscribers(server: Nats, eventually: Eventually) -> None:
    received_by: dict[str, list[bytes]] = {"gateway": [], "demo": []}

    def hearing(name: str) -> bus.Handler:
        async def handler(received: bus.Received) -> None:
            received_by[name].append(received.payload)

        return handler

    buses = {
        name: bus.Bus(server.url_for(name, PASSWORD), name=name, certificate=server_certificate(server, name))
        for name in services.CALLERS
    }
    ready = {name: asyncio.Event() for name in buses}
    for name, connection in buses.items():
        connection.on_connected(ready[name].set)
        if name != "gateway":
            connection.owns_stream(name)
    buses["gateway"].subscribe("jobs.events.>", hearing("gateway"))
    buses["demo"].consume("jobs", "demo", hearing("demo"), filters=("demo.>",))
    async with run.Background() as background:
        for name, connection in buses.items():
            background.start(name, connection.run)
        for event in ready.values():
            await asyncio.wait_for(event.wait(), 60)
        payload = uuid4().bytes
        await buses["jobs"].publish(str(uuid4()), "jobs.events.demo.enable", payload)

        async def all_have_heard() -> bool:
            return all(payload in payloads for payloads in received_by.values())

        await eventually(all_have_heard)
        with pytest.raises((nats.errors.Error, TimeoutError), match=r"(?i)timeout|no response|permission"):
            await buses["demo"].publish(str(uuid4()), "jobs.events.demo.enable", b"forged")


async def test_lost_streams_are_recreated_by_their_services(tmp_path: Path, eventually: Eventually) -> None:
    local.make(tmp_path)
    protection = Protection(
        certificate=local.load_certificate(tmp_path, "nats"), passwords=dict.fromkeys(keys.NATS_PASSWORDS, PASSWORD)
    )
    engine = Nats(tmp_path, protection=protection)
    await asyncio.to_thread(engine.start)
    try:
        connection = bus.Bus(
            engine.url_for("demo", PASSWORD), name="demo", certificate=server_certificate(engine, "demo")
        )
        connection.owns_stream("demo")
        received_by = asyncio.Event()

        async def receive(received: bus.Received) -> None:
            received_by.set()

        connection.consume("jobs", "demo", receive, filters=("demo.>",))
        jobs = bus.Bus(engine.url_for("jobs", PASSWORD), name="jobs", certificate=server_certificate(engine, "jobs"))
        async with run.Background() as background:
            background.start("demo", connection.run)
            background.start("jobs", jobs.run)

            async def is_published() -> bool:
                try:
                    await jobs.publish(str(uuid4()), "jobs.events.demo.enable", b"x")
                except (TimeoutError, nats.errors.Error, ConnectionError):
                    return False
                return True

            await eventually(is_published)
            await asyncio.wait_for(received_by.wait(), 60)
    finally:
        await asyncio.to_thread(engine.erase)


async def test_connection_without_a_certificate_is_refused(server: Nats, certificate: Certificates) -> None:
    url = server.url_for("demo", PASSWORD)
    trusting = ssl.create_default_context(cafile=server_certificate(server, "demo").authority)
    for context in (trusting, certificate("demo").client_context()):
        with pytest.raises((ssl.SSLError, OSError, nats.errors.Error)):
            await nats.connect(url, tls=context, tls_handshake_first=True, allow_reconnect=False, connect_timeout=2)
    with pytest.raises((OSError, nats.errors.Error, asyncio.TimeoutError)):
        await nats.connect(url, allow_reconnect=False, connect_timeout=2)


async def test_a_wrong_password_is_refused_with_a_good_certificate(server: Nats) -> None:
    context = server_certificate(server, "demo").client_context()
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await nats.connect(
            server.url_for("demo", "wrong"),
            tls=context,
            tls_handshake_first=True,
            allow_reconnect=False,
            connect_timeout=CONNECT_SECONDS,
        )


async def test_bus_outlives_a_frozen_nats(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_WATCH_SECONDS", 0.1)
    monkeypatch.setattr(bus, "LOST_SECONDS", 0.5)
    monkeypatch.setattr(bus, "CONNECT_SECONDS", 2.0)
    monkeypatch.setattr(bus, "CLOSE_SECONDS", 1.0)
    tested_bus = bus.Bus(server.url_for("jobs", PASSWORD), name="test", certificate=server_certificate(server, "jobs"))
    gauges: list[float | None] = []
    server_process = server.pid
    assert server_process is not None
    async with running(tested_bus, eventually):
        client = tested_bus._client
        assert client is not None
        os.kill(server_process, signal.SIGSTOP)
        try:
            await client.force_reconnect()  # as after pings without an answer

            async def is_replaced() -> bool:
                gauges.append(REGISTRY.get_sample_value("nats_connected"))
                return tested_bus._client is not client

            await eventually(is_replaced)
        finally:
            os.kill(server_process, signal.SIGCONT)
        assert gauges[-1] == 0.0

        async def is_caught_up() -> bool:
            return tested_bus.is_caught_up

        await eventually(is_caught_up)
        await tested_bus.publish(str(uuid4()), "jobs.events.demo.enable", b"after")
    gc.collect()  # connections that the frozen server did not answer


async def test_bus_connects_after_a_failed_handshake(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "CONNECT_SECONDS", 2.0)
    failed = asyncio.Event()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if not failed.is_set():
            await client.read(1)  # of the handshake
            failed.set()
            to_client.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(forward(client, to_server), forward(from_server, to_client))

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as front:
        url = server.url_for("jobs", PASSWORD).replace(str(server.port), str(front.sockets[0].getsockname()[1]))
        tested_bus = bus.Bus(url, name="test", certificate=server_certificate(server, "jobs"))
        ready = asyncio.Event()
        tested_bus.on_connected(ready.set)
        async with run.Background() as background:
            background.start("bus", tested_bus.run)

            async def is_connected() -> bool:
                return failed.is_set() and ready.is_set()

            await eventually(is_connected)
            await tested_bus.publish(str(uuid4()), "jobs.events.demo.enable", b"after")


async def test_provisioning_gives_up_after_a_failed_handshake(server: Nats) -> None:
    async def refuse(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        await client.read(1)  # of the handshake
        to_client.transport.abort()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as front:
        url = server.url_for("provision", PASSWORD).replace(str(server.port), str(front.sockets[0].getsockname()[1]))
        with pytest.raises(provisioning.Unreachable, match="within 0 s: TimeoutError"):
            await provisioning.provision(
                url, services.SERVICES, seconds=0, certificate=server_certificate(server, "provision")
            )


async def test_bus_uses_its_new_certificate_and_accepts_the_servers_new_one(
    server: Nats, eventually: Eventually
) -> None:
    connections = 0
    connection = bus.Bus(
        server.url_for("jobs", PASSWORD), name="renewing", certificate=server_certificate(server, "jobs")
    )

    def count() -> None:
        nonlocal connections
        connections += 1

    connection.on_connected(count)
    connection.owns_stream("jobs")
    async with run.Background() as background:
        background.start("bus", connection.run)

        async def is_up() -> bool:
            return connections == 1 and connection.is_connected

        await eventually(is_up)
        # A new authority: the old certificates are worth nothing to the server once it has read the new ones.
        shutil.rmtree(server.data_dir / "certificates")
        local.make(server.data_dir)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGHUP)

        async def has_come_back() -> bool:
            return connections >= 2 and connection.is_connected

        await eventually(has_come_back)
        await connection.publish(str(uuid4()), "jobs.events.demo.enable", b"after")
    async with connected(server, "demo") as client:
        await client.jetstream().consumer_info(streams.stream_name("jobs"), "demo")
    assert certificates.make(server.data_dir / "certificates") == []


class Deployed(Nats):
    """A server that is started as in containers."""

    def command(self) -> list[str | Path]:
        return ["sh", DEPLOYED / "start", *super().command()[1:]]

    def environment(self) -> dict[str, str]:
        inherited = {name: value.strip('"') for name, value in super().environment().items()}
        return {**inherited, "PATH": f"{Path(super().command()[0]).parent}:{inherited['PATH']}"}


async def test_deployed_server_uses_its_new_certificate_without_a_command(
    tmp_path: Path, eventually: Eventually
) -> None:
    local.make(tmp_path)
    passwords = dict.fromkeys(keys.NATS_PASSWORDS, PASSWORD)
    protection = Protection(certificate=local.load_certificate(tmp_path, "nats"), passwords=passwords)
    with Deployed(tmp_path, protection=protection).temporary() as server:
        async with connected(server, "demo") as client:
            (tmp_path / "certificates" / "nats" / certificates.CERTIFICATE).unlink()
            local.make(tmp_path)
            expected = ssl.PEM_cert_to_DER_cert((tmp_path / "certificates" / "nats" / "tls.crt").read_text())

            async def shows_the_new_one() -> bool:
                context = server_certificate(server, "demo").client_context()
                _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
                peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                writer.close()
                return bool(peer == expected)

            await eventually(shows_the_new_one)
            await client.flush()
            assert client.stats["reconnects"] == 0, "connections stay"
