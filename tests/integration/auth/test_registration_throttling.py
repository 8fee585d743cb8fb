"""Throttling of registrations per network."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chassis import errors
from services.auth import domain
from services.auth.accounts.operations import Accounts
from services.auth.context import Context
from services.auth.passwords import Passwords
from tests.integration.auth.client import PASSWORD, Gateway, new_address, new_email
from tests.integration.auth.conftest import MEMORY_KIB, REGISTRATIONS_PER_ADDRESS


@pytest.fixture
def stuck(context: Context) -> Iterator[Accounts]:
    """Accounts with a full hashing queue: every hash is refused."""
    passwords = Passwords(memory_kib=MEMORY_KIB, cores=1, waiting_per_core=-1)
    yield Accounts(replace(context, passwords=passwords))
    passwords.close()


async def register(gateway: Gateway, ip_address: str, times: int = REGISTRATIONS_PER_ADDRESS) -> None:
    for _ in range(times):
        await gateway.register(new_email(), ip_address=ip_address)


async def test_registrations_per_network_are_limited(gateway: Gateway) -> None:
    ip_address = new_address()
    await register(gateway, ip_address)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await gateway.register(new_email(), ip_address=ip_address)
    assert excinfo.value.code == "too_many_attempts"
    assert 0 < int(excinfo.value.details["retry_after_seconds"]) <= 15 * 60
    assert await gateway.register(new_email(), ip_address=new_address())


async def test_a_burst_gets_no_extra_registrations(gateway: Gateway) -> None:
    ip_address = new_address()
    burst = (gateway.register(new_email(), ip_address=ip_address) for _ in range(REGISTRATIONS_PER_ADDRESS + 3))
    answers = await asyncio.gather(*burst, return_exceptions=True)
    assert [answer.code for answer in answers if isinstance(answer, errors.Error)] == ["too_many_attempts"] * 3


async def test_a_refusal_is_not_counted_and_does_not_extend_the_window(gateway: Gateway, sql: Any) -> None:
    ip_address, rows = new_address(), []
    await register(gateway, ip_address)
    for _ in range(2):
        rows += await sql("SELECT * FROM auth.login_failures WHERE key = :key", key=f"registrations:{ip_address}")
        with pytest.raises(errors.ResourceExhausted):
            await gateway.register(new_email(), ip_address=ip_address)
    assert rows[0] == rows[1]
    assert rows[0].failures == REGISTRATIONS_PER_ADDRESS


async def test_counting_restarts_after_the_window(gateway: Gateway, sql: Any) -> None:
    ip_address = new_address()
    await register(gateway, ip_address)
    await sql(
        "UPDATE auth.login_failures SET window_ends_at = window_ends_at - interval '15 minutes' WHERE key = :key",
        key=f"registrations:{ip_address}",
    )
    await register(gateway, ip_address)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.register(new_email(), ip_address=ip_address)


async def test_an_ipv6_customer_is_one_network(gateway: Gateway) -> None:
    network = f"2001:db8:{uuid.uuid4().hex[:4]}"
    for host in range(REGISTRATIONS_PER_ADDRESS):
        await register(gateway, f"{network}:1::{host + 1:x}", 1)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.register(new_email(), ip_address=f"{network}:1::ffff")
    assert await gateway.register(new_email(), ip_address=f"{network}:2::1")


async def test_an_unknown_address_is_not_counted(gateway: Gateway) -> None:
    await register(gateway, "", REGISTRATIONS_PER_ADDRESS + 1)


async def test_attempts_that_cost_a_hash_are_counted_and_mistakes_are_not(gateway: Gateway) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument):
        await gateway.register(new_email(), password="short", ip_address=account.ip_address)
    for _ in range(REGISTRATIONS_PER_ADDRESS - 1):
        with pytest.raises(errors.AlreadyExists):
            await gateway.register(account.email, ip_address=account.ip_address)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.register(account.email, ip_address=account.ip_address)


async def test_throttling_precedes_hashing_and_does_not_affect_logins(gateway: Gateway, stuck: Accounts) -> None:
    account = await gateway.account()
    await register(gateway, account.ip_address, REGISTRATIONS_PER_ADDRESS - 1)
    client = domain.Client(user_agent="", ip_address=account.ip_address)
    with pytest.raises(domain.TooManyAttempts):
        await stuck.register(email=new_email(), password=PASSWORD, name="", client=client)
    assert await gateway.login(account.email, ip_address=account.ip_address)
