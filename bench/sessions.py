"""Costs of sign-in and sessions: session checks with and without cache, logins beside them, and revocation."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import argon2

from bench import http, load
from bench.samples import Row, Section
from bench.stream import process
from bench.system import System, User
from chassis import ids, run, settings
from dev import subprocesses
from gateway import container
from gateway.settings import Settings

REMEMBERED_CALLS, CALLS_A_SAMPLE = 200, 1_000
REMEMBERED_LIMIT = 100e-6
UNCACHED_RATE, UNCACHED_COUNT, UNCACHED_LIMIT = 500.0, 4_000, 0.02
LOGIN_RATE, LOGIN_COUNT, ME_RATE = 10.0, 150, 50.0
ME_LIMIT = 0.02
REVOCATIONS, REVOCATION_LIMIT = 60, 0.25
REVOCATION_DEADLINE = 10.0
PRODUCTION_MEMORY_KIB = 65_536
START_SECONDS = 30.0
_PASSWORD = "bench password of test users"  # noqa: S105 - of accounts that live as long as the benchmark


async def run_suite(system: System) -> list[Section]:
    """Measure sessions."""
    checks = await _checks(system)
    logins = await _logins(system)
    revocations = await _revocations(system)
    return [
        Section(title="The check of a session", rows=checks, notes=_CHECK_NOTES),
        Section(title=f"{LOGIN_RATE:.0f} logins/s at production's strength, {ME_RATE:.0f} /auth/me/s", rows=logins),
        Section(title=f"Revocation, two gateways, {REVOCATIONS} sessions", rows=revocations, notes=_REVOCATION_NOTES),
    ]


_CHECK_NOTES = [
    "Remembered: what the gateway's own code takes for one check, in its process, the mean of a thousand in a row.",
    f"Not remembered: the same call for a session seen for the first time, at {UNCACHED_RATE:.0f}/s: gRPC and PostgreSQL.",
]
_REVOCATION_NOTES = ["From sending the revocation to the one gateway to the first 401 that the other one sends."]


async def _checks(system: System) -> list[Row]:
    tokens = await _new_sessions(system, UNCACHED_COUNT)
    assembled = container.assemble(settings.read(Settings, system.stack.environment("gateway")))
    async with run.Background() as background:
        background.start("bus", assembled.bus.run)
        await _until_heard(assembled)
        validate = assembled.sessions.validate
        warm = await _new_sessions(system, 100)
        await load.each(lambda index: validate(warm[index]), count=len(warm), at_once=10)
        uncached = await load.offer(lambda index: validate(tokens[index]), rate=UNCACHED_RATE, count=len(tokens))
        token = tokens[-1]
        remembered = []
        for _ in range(REMEMBERED_CALLS):
            await validate(token)
            began = time.perf_counter()
            for _ in range(CALLS_A_SAMPLE):
                await validate(token)
            remembered.append((time.perf_counter() - began) / CALLS_A_SAMPLE)
    await assembled.close()
    return [
        Row(name="remembered", durations=remembered, limits=((100, REMEMBERED_LIMIT),)),
        Row(
            name="not remembered",
            durations=uncached.durations,
            failed=len(uncached.failures),
            limits=((99, UNCACHED_LIMIT),),
        ),
    ]


async def _logins(system: System) -> list[Row]:
    emails = [f"{secrets.token_hex(8)}@example.com" for _ in range(LOGIN_COUNT)]
    with ThreadPoolExecutor(max_workers=1) as thread:
        hasher = argon2.PasswordHasher(time_cost=2, memory_cost=PRODUCTION_MEMORY_KIB, parallelism=1)
        password_hash = await asyncio.get_running_loop().run_in_executor(thread, hasher.hash, _PASSWORD)
    async with await system.connect_database() as conn:
        for email in emails:
            await conn.execute(
                "INSERT INTO auth.users (user_id, email, name, role, password_hash) VALUES (%s, %s, '', 'user', %s)",
                [ids.uuid7(), email, password_hash],
            )
    users = await system.sign_up(20)

    async def me(index: int) -> None:
        await system.http.request("GET", "/api/v1/auth/me", expected=200, cookie=users[index % len(users)].cookie)

    async def login(index: int) -> None:
        # Separate addresses would be more realistic, but no proxy is trusted here.
        body = {"email": emails[index], "password": _PASSWORD}
        await system.http.request("POST", "/api/v1/auth/login", expected=200, body=body)

    await load.each(me, count=len(users), at_once=1)
    seconds = LOGIN_COUNT / LOGIN_RATE
    alone = await load.offer(me, rate=ME_RATE, count=int(ME_RATE * seconds))
    meanwhile, logged_in = await asyncio.gather(
        load.offer(me, rate=ME_RATE, count=int(ME_RATE * seconds)),
        load.offer(login, rate=LOGIN_RATE, count=LOGIN_COUNT, seed=2),
    )
    return [
        Row(name="GET /auth/me, nobody signs in", durations=alone.durations, failed=len(alone.failures)),
        Row(
            name="GET /auth/me, meanwhile",
            durations=meanwhile.durations,
            failed=len(meanwhile.failures),
            limits=((99, ME_LIMIT),),
        ),
        Row(name="POST /auth/login", durations=logged_in.durations, failed=len(logged_in.failures)),
    ]


async def _revocations(system: System) -> list[Row]:
    users = await system.sign_up(REVOCATIONS)
    with _second_gateway(system) as other:
        elsewhere = http.Client(f"http://127.0.0.1:{other.port}")
        durations = [await _revoke(system, elsewhere, user) for user in users]
        elsewhere.close()
    return [Row(name="revoked -> refused by the other one", durations=durations, limits=((99, REVOCATION_LIMIT),))]


async def _revoke(system: System, elsewhere: http.Client, user: User) -> float:
    """Return the seconds until the other gateway, which has cached the session, refuses it."""
    await elsewhere.request("GET", "/api/v1/auth/me", expected=200, cookie=user.cookie)
    began = time.perf_counter()
    revoking = asyncio.create_task(system.http.request("POST", "/api/v1/auth/logout", expected=204, cookie=user.cookie))
    async with asyncio.timeout(REVOCATION_DEADLINE):
        while True:
            try:
                await elsewhere.request("GET", "/api/v1/auth/me", expected=200, cookie=user.cookie)
            except http.UnexpectedStatus as refusal:
                if ": 401 " not in str(refusal):
                    raise
                break
    took = time.perf_counter() - began
    await revoking
    return took


async def _new_sessions(system: System, count: int) -> list[str]:
    """Insert sessions of one user into the database: as many logins would be a different benchmark."""
    (user,) = await system.sign_up(1)
    tokens = [f"rpv_{secrets.token_urlsafe(32)}" for _ in range(count)]
    async with await system.connect_database() as conn, conn.cursor() as cursor:
        await cursor.executemany(
            """
            INSERT INTO auth.sessions (session_id, user_id, token_hash, user_agent, ip_address, idle_expires_at,
                                       absolute_expires_at)
            VALUES (%s, %s, %s, '', '', now() + interval '1 day', now() + interval '1 day')
            """,
            [(ids.uuid7(), user.user_id, hashlib.sha256(token.encode()).digest()) for token in tokens],
        )
    return tokens


async def _until_heard(assembled: container.Container) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not assembled.bus.is_connected:  # noqa: ASYNC110 - once, before anything is measured
            await asyncio.sleep(0.02)


def _second_gateway(system: System) -> AbstractContextManager[process.Running]:
    """Run another gateway beside the stack's."""
    port = subprocesses.free_port()
    environment = {**os.environ, **system.stack.environment("gateway"), "LISTEN": f"127.0.0.1:{port}"}
    return process.server([sys.executable, "-m", "gateway", "serve"], port, environment)
