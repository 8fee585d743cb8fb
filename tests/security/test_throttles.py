"""Guesses over HTTP: all variations share one count, and no caller locks out another one."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from contextlib import AsyncExitStack

import httpx

from services.auth import throttling
from tests.acceptance.users import PASSWORD
from tests.security import users
from tests.security.conftest import TRUSTED_PROXY, Replicated
from tests.security.users import Person

WRONG = "wrong-anvil-rowing"
BURST = 50


async def guess(http: httpx.AsyncClient, email: str, password: str = WRONG, **headers: str) -> httpx.Response:
    return await http.post("/api/v1/auth/token", json={"email": email, "password": password}, headers=headers)


def must_be_blocked(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts"), answer.text
    assert 0 < int(answer.headers["retry-after"]) <= throttling.WINDOW.total_seconds()


async def failures(system: Replicated, key: str) -> int:
    rows = await system.query("SELECT failures FROM auth.login_failures WHERE key = %s", key)
    return sum(row["failures"] for row in rows)


async def test_a_burst_is_counted_to_the_last_guess_and_locks_out_its_own_network_only(
    system: Replicated, person: Person
) -> None:
    address = users.new_address()
    async with users.at(system.urls[0], address=address) as here, users.at(system.urls[1], address=address) as there:
        burst = (guess((here, there)[number % 2], person.email) for number in range(BURST))
        answers = await asyncio.gather(*burst)
        # On a busy machine a call ends at its deadline: its guess may have been counted.
        assert {answer.status_code for answer in answers} <= {401, 429, 503, 504}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code != 401)
        statuses = Counter(answer.status_code for answer in answers)
        refused, late = statuses[401], statuses[503] + statuses[504]
        key = f"account:{person.email}|{address}"
        assert refused <= await failures(system, key) <= refused + late
        # A busy machine turns guesses away without counting them.
        for _ in range(BURST):
            if await failures(system, key) >= throttling.FAILURES_PER_ACCOUNT:
                break
            await guess(here, person.email)
        assert await failures(system, key) >= throttling.FAILURES_PER_ACCOUNT
        # Both gateways refuse even the correct password now.
        for http in (here, there):
            must_be_blocked(await guess(http, person.email, PASSWORD))
    # The owner can sign in from another network.
    assert await person.new_token()


async def test_flood_of_sign_ins_refuses_no_other_request(system: Replicated, person: Person) -> None:
    async with AsyncExitStack() as stack:
        strangers = [
            await stack.enter_async_context(users.at(system.url, address=users.new_address())) for _ in range(50)
        ]
        guesses = [
            asyncio.ensure_future(guess(stranger, f"user-{uuid.uuid4()}@example.org"))
            for stranger in strangers
            for _ in range(8)
        ]
        statuses = Counter[int]()
        while not all(task.done() for task in guesses):
            statuses[(await person.get("/auth/me")).status_code] += 1
        answers = await asyncio.gather(*guesses)
    assert set(statuses) == {200}
    assert {answer.status_code for answer in answers} <= {401, 429, 503, 504}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code != 401)


async def test_spellings_of_an_address_are_one_account(system: Replicated, person: Person) -> None:
    local, _, host = person.email.partition("@")
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isalnum() else letter for letter in host)
    spellings = [
        person.email.upper(),
        f"  {person.email}",
        f"{local.title()}@{host}",
        f"{local}@{wide}",
        f"{person.email}\t",
    ]
    # An invalid address does not count as a guess.
    others = [f"{local.replace('u', 'ｕ')}@{host}", f"{local}\u200b@{host}", f"{local}@{host}.", f"{person.email}\0"]
    async with users.at(system.url, address=users.new_address()) as http:
        for email in others:
            assert (await guess(http, email)).status_code == 422, email
        for number in range(throttling.FAILURES_PER_ACCOUNT):
            answer = await guess(http, spellings[number % len(spellings)])
            assert answer.status_code == 401, (spellings[number % len(spellings)], answer.text)
        for email in spellings:
            must_be_blocked(await guess(http, email, PASSWORD))


async def test_client_cannot_choose_its_address(system: Replicated, person: Person) -> None:
    address = users.new_address()
    async with users.at(system.url, address=address) as http:
        for number in range(throttling.FAILURES_PER_ACCOUNT):
            claimed = f"203.0.113.{number}"
            fields = {"X-Forwarded-For": claimed, "X-Real-IP": claimed, "Forwarded": f"for={claimed}"}
            assert (await guess(http, person.email, **fields)).status_code == 401
        must_be_blocked(await guess(http, person.email, PASSWORD, **{"X-Forwarded-For": "198.51.100.1"}))
    # Behind a trusted proxy only the address that the proxy added counts: the last one.
    async with users.at(system.url, address=TRUSTED_PROXY) as http:
        for number in range(throttling.FAILURES_PER_ACCOUNT):
            forwarded = {"X-Forwarded-For": f"203.0.113.{number}, 192.0.2.77"}
            assert (await guess(http, person.email, **forwarded)).status_code == 401
        must_be_blocked(await guess(http, person.email, PASSWORD, **{"X-Forwarded-For": "198.51.100.1, 192.0.2.77"}))
    assert await person.new_token()


async def test_a_network_of_ipv6_is_one_customer(system: Replicated, person: Person) -> None:
    async with users.at(system.url, address=TRUSTED_PROXY) as http:
        for number in range(throttling.FAILURES_PER_ACCOUNT):
            fields = {"X-Forwarded-For": f"2001:db8:7:1:{number:x}::{number:x}"}
            assert (await guess(http, person.email, **fields)).status_code == 401
        must_be_blocked(await guess(http, person.email, PASSWORD, **{"X-Forwarded-For": "2001:db8:7:1:ffff::1"}))
        neighbour = await guess(http, person.email, PASSWORD, **{"X-Forwarded-For": "2001:db8:7:2::1"})
        assert neighbour.status_code == 200


async def test_a_password_of_a_megabyte_is_refused_before_hashing(system: Replicated, person: Person) -> None:
    address = users.new_address()
    async with users.at(system.url, address=address) as http:
        answers = await asyncio.gather(*(guess(http, person.email, "x" * 1_000_000) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {413}
        counted = await system.query("SELECT key FROM auth.login_failures WHERE key LIKE %s", f"%{address}")
        assert not counted
        # The longest accepted password is counted like any other wrong one.
        assert (await guess(http, person.email, "x" * 60_000)).status_code == 401
        for path, sent in (
            ("/auth/register", {"email": f"new-{person.email}", "password": "x1y2z3" * 10_000}),
            ("/auth/password/reset", {"token": "x" * 43, "password": "x1y2z3" * 10_000}),
        ):
            answer = await http.post(f"/api/v1{path}", json=sent)
            assert answer.status_code == 422, answer.text
