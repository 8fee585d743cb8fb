"""Reauthentication: which calls require it, how long it lasts, and that the old token is invalid."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.auth import domain, throttling
from services.auth.sessions import storage as session_storage
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
LATER = domain.FRESH_FOR + timedelta(seconds=1)
OTHER = "00000000-0000-0000-0000-000000000000"


async def reauthenticate(gateway: Gateway, account: Account, password: str = PASSWORD) -> Any:
    return await gateway.auth("Reauthenticate", user=account.identity, ip_address=account.ip_address, password=password)


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("RevokeSession", {"session_id": OTHER}),
        ("RevokeAllSessions", {}),
        ("BeginTotp", {}),
        ("ConfirmTotp", {"code": "000000"}),
        ("DisableTotp", {"code": "000000"}),
        ("RegenerateRecoveryCodes", {}),
    ],
)
async def test_sensitive_calls_require_a_fresh_session(
    gateway: Gateway, shift: Any, rpc: str, fields: dict[str, str]
) -> None:
    account = await gateway.account()
    await shift(account.session_id, LATER)
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await gateway.auth(rpc, user=account.identity, **fields)
    assert excinfo.value.code == "reauthentication_required"
    await reauthenticate(gateway, account)
    try:
        await gateway.auth(rpc, user=account.identity, **fields)
    except errors.Error as error:
        assert error.code != "reauthentication_required"


async def test_the_current_session_can_be_ended_without_reauthentication(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    await shift(account.session_id, LATER)
    await gateway.revoke(account.session_id, user=account.identity, reason="logout")
    assert not await gateway.is_valid(account.token)


async def test_reauthentication_replaces_the_token_of_the_session(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    await shift(account.session_id, LATER)
    proven = await reauthenticate(gateway, account)
    assert proven.session.session_id == account.session_id
    assert not await gateway.is_valid(account.token)
    session = (await gateway.validate(proven.token)).session
    assert session.session_id == account.session_id
    assert session.authenticate_time.ToDatetime() >= session.create_time.ToDatetime() + LATER


async def test_reauthentication_does_not_extend_the_absolute_expiry(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account(remember=False)
    await shift(account.session_id, timedelta(hours=11, minutes=30))
    ends = (await gateway.validate(account.token)).session.absolute_expire_time
    await shift(account.session_id, timedelta(hours=11, minutes=30))
    proven = await reauthenticate(gateway, account)
    assert proven.session.absolute_expire_time.ToDatetime() == ends.ToDatetime() - timedelta(hours=11, minutes=30)
    assert proven.session.idle_expire_time == proven.session.absolute_expire_time


async def test_a_wrong_password_does_not_reauthenticate_and_is_counted(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    for _ in range(throttling.FAILURES_PER_ACCOUNT):
        with pytest.raises(errors.Unauthenticated) as excinfo:
            await reauthenticate(gateway, account, "wrong")
        assert excinfo.value.code == "invalid_credentials"
    with pytest.raises(errors.ResourceExhausted):
        await reauthenticate(gateway, account)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.login(account.email, ip_address=account.ip_address)
    assert await gateway.is_valid(account.token)


async def test_an_ended_session_cannot_reauthenticate(gateway: Gateway) -> None:
    account = await gateway.account()
    await gateway.revoke(account.session_id, user=account.identity)
    for rpc, fields in (
        ("Reauthenticate", {"password": PASSWORD}),
        ("ChangePassword", {"current_password": PASSWORD, "new_password": "another-good-password"}),
        ("RequestEmailVerification", {}),
        ("GetSecurity", {}),
        ("BeginTotp", {}),
    ):
        with pytest.raises(errors.Unauthenticated) as excinfo:
            await gateway.auth(rpc, user=account.identity, **fields)
        assert excinfo.value.code == "session_invalid"


async def test_a_concurrently_revoked_session_gets_no_token(
    gateway: Gateway, engine: AsyncEngine, waiting_for_locks: Callable[[], Awaitable[int]], eventually: Eventually
) -> None:
    account = await gateway.account()
    async with engine.begin() as revoking:
        session_id, user_id = uuid.UUID(account.session_id), uuid.UUID(account.user_id)
        await session_storage.revoke_session(revoking, user_id, session_id, domain.RevokeReason.REVOKED)
        proving = asyncio.create_task(reauthenticate(gateway, account))

        async def waits() -> bool:
            return await waiting_for_locks() == 1

        await eventually(waits)
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await proving
    assert excinfo.value.code == "session_invalid"
    assert await gateway.sessions(account.identity) == []


async def test_concurrent_reauthentications_leave_one_token(gateway: Gateway) -> None:
    account = await gateway.account()
    proven = await asyncio.gather(*(reauthenticate(gateway, account) for _ in range(6)))
    valid = [await gateway.is_valid(session.token) for session in proven]
    assert valid.count(True) == 1
    assert not await gateway.is_valid(account.token)


async def test_validation_that_waits_for_a_new_token_refuses_the_old_one(
    gateway: Gateway,
    engine: AsyncEngine,
    shift: Any,
    waiting_for_locks: Callable[[], Awaitable[int]],
    eventually: Eventually,
) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=6))
    actor = domain.Actor(user_id=uuid.UUID(account.user_id), session_id=uuid.UUID(account.session_id))
    async with engine.begin() as rotating:
        await session_storage.replace_token(rotating, actor, b"n" * 32)
        validating = asyncio.create_task(gateway.is_valid(account.token))

        async def waits() -> bool:
            return await waiting_for_locks() == 1

        await eventually(waits)
    assert not await validating


async def test_renewal_is_reported_so_that_the_cookie_is_sent_again(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    assert not (await gateway.validate(account.token)).is_renewed
    await shift(account.session_id, timedelta(minutes=6))
    assert [(await gateway.validate(account.token)).is_renewed for _ in range(2)] == [True, False]


async def test_a_session_that_is_not_remembered_expires_sooner(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account(remember=False)
    session = (await gateway.validate(account.token)).session
    assert not session.is_remembered
    created_at = session.create_time.ToDatetime()
    assert session.idle_expire_time.ToDatetime() - created_at == timedelta(hours=12)
    assert session.absolute_expire_time.ToDatetime() - created_at == timedelta(hours=24)
    await shift(account.session_id, timedelta(hours=11))
    renewed = (await gateway.validate(account.token)).session
    assert renewed.idle_expire_time.ToDatetime() - renewed.last_seen_time.ToDatetime() == timedelta(hours=12)
    await shift(account.session_id, timedelta(hours=12))
    assert not await gateway.is_valid(account.token)


async def test_a_session_names_the_client_that_began_it(gateway: Gateway) -> None:
    account = await gateway.account()
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    login = await gateway.login(account.email, ip_address=new_address(), user_agent=firefox)
    assert login.session.client_name == "Firefox on Linux"
