"""Malformed traffic: no process ends, no memory grows, and other clients are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance import waiting
from tests.security.conftest import Replicated
from tests.security.users import Person

SEED = 12
MALFORMED = int(os.environ.get("HOSTILE_REQUESTS", "1000"))
"""Malformed requests, and twice the number of sign-ins; `make hostile` sends ten thousand."""
AT_ONCE = 50
HOSTILE = "127.66.6.6"
"""The address of the hostile clients."""
GROWTH_BYTES = 64 << 20
"""Growth of a process's memory during one test. Caches and the allocator take less; a leak in each request takes
more."""

_METHODS = (
    b"GET",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"get",
    b"\x00",
)
_PATHS = (
    *(b"/", b"/login", b"/jobs", b"/api/v1/auth/me", b"/api/v1/auth/login", b"/api/v1/demo/enable", b"/api/v1/events"),
    *(b"/healthz", b"*", b"//", b"/../etc/passwd", b"/%00", b"/%ff%fe", b"/%", b"http://a/", b"/" + b"a" * 9_000),
    b"/jobs/" + b"\xf0\x9f\x98\x80",
)
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/", b"", b"ICY")
_HEADERS = (
    *(
        b"Host: a",
        b"Host:",
        b"Host: a\r\nHost: b",
        b"Content-Length: 10",
        b"Content-Length: -1",
        b"Content-Length: 1e9",
    ),
    *(b"Content-Length: 5\r\nContent-Length: 6", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked"),
    *(b"Content-Type: application/json", b"Content-Type: ;;;", b"Content-Type: text/plain; charset=utf-16"),
    *(
        b"Cookie: session=" + b"a" * 43,
        b"Cookie: session=\xff; =;;=",
        b"Authorization: Bearer",
        b"Authorization: Basic =",
    ),
    *(b"X-Forwarded-For: unknown, 1.2.3.4, ::", b"X-Forwarded-Proto: gopher", b"Accept: text/html", b"Accept: \xff"),
    *(b"Expect: 100-continue", b"Upgrade: websocket\r\nConnection: Upgrade", b"Upgrade: h2c", b"Range: bytes=9-1"),
    *(
        b"Last-Event-ID: -1",
        b"Idempotency-Key: " + b"k" * 5_000,
        b'If-None-Match: "',
        b": empty",
        b"no colon",
        b" folded",
    ),
)
_BODIES = (
    *(
        b"",
        b"{",
        b"{}",
        b"null",
        b'{"email": 1}',
        b'{"a":' * 2_000,
        b"\xff\xfe\x00",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"ffffffffff\r\nx",
    ),
    *(b"5\r\nhel", b"x" * 200, b'{"email": "\\ud800", "password": "\\u0000"}', b'{"email": 1e999}'),
)


def malformed(chance: random.Random) -> bytes:
    """Return a request that is wrong in some way, or random bytes."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(2_000))
    lines = [b" ".join((chance.choice(_METHODS), chance.choice(_PATHS), chance.choice(_VERSIONS)))]
    lines += chance.sample(_HEADERS, chance.randrange(6))
    request = b"\r\n".join(lines) + b"\r\n\r\n" + chance.choice(_BODIES)
    if chance.random() < 0.2:
        request = request[: chance.randrange(len(request))]
    if chance.random() < 0.2:
        position = chance.randrange(len(request) + 1)
        request = request[:position] + chance.randbytes(3) + request[position:]
    return request


async def exchange(address: tuple[str, int], request_bytes: bytes) -> bytes:
    """Send bytes, end the sending side, and return what comes back. No client of another test has the same address."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*address, local_addr=(HOSTILE, 0))
            try:
                writer.write(request_bytes)
                await writer.drain()
                writer.write_eof()
                return await reader.read(65_536)
            finally:
                writer.close()
    return b""


async def flood(address: tuple[str, int], messages: Iterator[bytes]) -> list[bytes]:
    """Send messages, `AT_ONCE` at a time, each on a connection of its own; return the answers."""

    async def send() -> list[bytes]:
        return [await exchange(address, message) for message in messages]

    return list(itertools.chain(*await asyncio.gather(*(send() for _ in range(AT_ONCE)))))


def memory(system: Replicated) -> Mapping[int, int]:
    """Return the resident bytes of our processes by id."""
    return {pid: _resident(pid) for name in system.processes for pid in system.pids(name)}


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096


def assert_unharmed(system: Replicated, before: Mapping[int, int]) -> None:
    """Check that the same processes run, and that none has grown."""
    after = memory(system)
    assert after.keys() == before.keys(), "a process has ended"
    assert {pid: size for pid, size in after.items() if size - before[pid] > GROWTH_BYTES} == {}


async def assert_served(person: Person, attack: asyncio.Task[list[bytes]]) -> None:
    """Check that a user is served during an attack; under overload some requests may be refused with 503."""
    statuses = {(await person.get("/auth/me")).status_code}
    while not attack.done():
        statuses.add((await person.get("/auth/me")).status_code)
    assert 200 in statuses
    assert statuses <= {200, 503}


def gateway_of(system: Replicated) -> tuple[str, int]:
    """Return the address of the first gateway."""
    parts = urlsplit(system.urls[0])
    return parts.hostname or "", parts.port or 80


async def test_malformed_requests_harm_nobody(system: Replicated, person: Person) -> None:
    chance = random.Random(SEED)
    messages = [malformed(chance) for _ in range(MALFORMED)]
    await flood(gateway_of(system), iter(messages[:500]))  # caches are full
    before = memory(system)
    attack = asyncio.create_task(flood(gateway_of(system), iter(messages)))
    await assert_served(person, attack)
    assert [answer[:200] for answer in await attack if answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 502"))] == []
    assert_unharmed(system, before)


async def test_random_bytes_at_every_port_harm_nobody(system: Replicated, person: Person) -> None:
    chance = random.Random(SEED)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    nats = b'CONNECT {"verbose":true}\r\n'
    ports = [urlsplit(f"//{system.target(name)}") for name in ("auth", "demo", "jobs")]
    ports.append(urlsplit(system.nats_url))
    before = memory(system)
    for port in ports:
        noise = (chance.choice((b"", preface, nats)) + chance.randbytes(chance.randrange(5_000)) for _ in range(300))
        await flood((port.hostname or "", port.port or 0), noise)
        assert (await person.get("/auth/me")).status_code == 200
    assert_unharmed(system, before)
    await waiting.until(system.is_healthy, "all processes find each other")


@contextlib.asynccontextmanager
async def slow_requests(address: tuple[str, int], count: int) -> AsyncIterator[None]:
    """Hold connections open with requests that do not go on."""
    without_body = b"Host: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    incomplete_requests = (
        b"GET /login HTTP/1.1\r\nHost: a\r\nA:",
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\n",
        b"POST /api/v1/demo/enable HTTP/1.1\r\n" + without_body,
        b"POST /login HTTP/1.1\r\n" + without_body,
        b"GET /api/v1/events HTTP/1.1\r\n" + without_body,
    )
    writers = []
    try:
        for number in range(count):
            _, writer = await asyncio.open_connection(*address)
            writers.append(writer)
            writer.write(incomplete_requests[number % len(incomplete_requests)])
        yield
    finally:
        for writer in writers:
            writer.close()
        for writer in writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_slow_and_endless_requests_harm_nobody(system: Replicated, person: Person) -> None:
    address = gateway_of(system)
    before = memory(system)
    endless = b"GET /login HTTP/1.1\r\nHost: a\r\nA: " + b"a" * (4 << 20)
    oversized = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n" + b"a" * (4 << 20)
    async with slow_requests(address, 500):
        answers = await flood(address, iter([endless, oversized] * 50))
        # They hold no place of requests, of those that hash a password, and of streams that open.
        assert (await person.get("/auth/me")).status_code == 200
        assert (await person.post("/auth/login", json=person.credentials)).status_code == 200
        async with person.http.stream("GET", "/api/v1/events") as stream:
            assert stream.status_code == 200
    assert {answer[:12] for answer in answers if answer} <= {b"HTTP/1.1 431", b"HTTP/1.1 413"}
    assert_unharmed(system, before)


async def test_flood_of_sign_ins_harms_nobody(system: Replicated, person: Person) -> None:
    before = memory(system)
    body = b'{"email": "%d@example.org", "password": "wrong-password"}'
    request = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    )
    guesses = [body % number for number in range(MALFORMED // 2)]
    attack = asyncio.create_task(flood(gateway_of(system), (request % (len(guess), guess) for guess in guesses)))
    await assert_served(person, attack)
    statuses = {answer[9:12] for answer in await attack if answer}
    assert statuses <= {b"401", b"429", b"503"}
    assert_unharmed(system, before)
