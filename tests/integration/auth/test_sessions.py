"""Sessions: validation, renewal, expiry, and the signed identity."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import driver, errors, identity
from services.auth import domain, maintenance
from services.auth.context import Context
from services.auth.sessions import storage as session_storage
from services.auth.sessions.operations import Sessions
from tests.integration.auth.client import Gateway

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_validation_signs_the_users_identity(gateway: Gateway, trusted_identity_keys: str) -> None:
    account = await gateway.account()
    validated = await gateway.validate(account.token)
    assert validated.session.session_id == account.session_id
    elsewhere = identity.Verifier(trusted_identity_keys)
    assert elsewhere.user(validated.identity) == identity.User(
        user_id=account.user_id, role="user", session_id=account.session_id, can_access_dashboard=True
    )
    assert _lifetime(validated.identity) <= identity.USER_LIFETIME


async def test_the_identity_never_outlives_the_session(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    await sql(
        "UPDATE auth.sessions SET idle_expires_at = now() + interval '60 seconds' WHERE session_id = :id",
        id=account.session_id,
    )
    validated = await gateway.validate(account.token)
    assert _lifetime(validated.identity) <= 60
    assert validated.identity_expire_time.ToSeconds() <= validated.session.idle_expire_time.ToSeconds() + 1


@pytest.mark.parametrize("token", ["", "rpv_", "rpv_" + "x" * 43, "\x00", "x" * 10_000, "rpv_" + "é" * 43])
async def test_an_unknown_token_is_invalid(gateway: Gateway, token: str) -> None:
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await gateway.validate(token)
    assert excinfo.value.code == "session_invalid"


async def test_tokens_validated_together_are_independent(gateway: Gateway, shift: Any) -> None:
    living, revoked, passive = [await gateway.account() for _ in range(3)]
    for account in (living, passive):
        await shift(account.session_id, domain.RENEW_AFTER)
    await gateway.auth("RevokeAllSessions", user=revoked.identity)
    expected = [(living, False), (revoked, False), (passive, True), (living, True), (None, False)]
    answer = await gateway.auth(
        "ValidateSessions",
        sessions=[
            {"token": account.token if account else "x", "passive": is_passive} for account, is_passive in expected
        ],
    )
    results = [
        (result.validated.session.session_id, result.validated.is_renewed) if result.HasField("validated") else None
        for result in answer.results
    ]
    unchanged = (living.session_id, False)
    assert results == [(living.session_id, True), None, (passive.session_id, False), unchanged, None]


async def test_an_unused_session_expires_after_two_weeks(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    await shift(account.session_id, domain.REMEMBERED.idle - timedelta(minutes=1))
    await gateway.validate(account.token)
    await shift(account.session_id, domain.REMEMBERED.idle)
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await gateway.validate(account.token)
    assert excinfo.value.code == "session_invalid"
    assert await gateway.sessions(account.identity) == []


async def test_a_session_in_use_expires_after_ninety_days(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    for _ in range(9):
        await shift(account.session_id, timedelta(days=9.9))
        session = (await gateway.validate(account.token)).session
        assert session.idle_expire_time.ToDatetime() <= session.absolute_expire_time.ToDatetime()
    assert session.idle_expire_time == session.absolute_expire_time
    await shift(account.session_id, timedelta(days=0.9))
    with pytest.raises(errors.Unauthenticated):
        await gateway.validate(account.token)


async def test_a_session_is_renewed_after_five_minutes(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=4))
    unchanged = (await gateway.validate(account.token)).session
    assert unchanged.last_seen_time == unchanged.create_time
    await shift(account.session_id, timedelta(minutes=2))
    renewed = (await gateway.validate(account.token)).session
    assert renewed.last_seen_time.ToDatetime() >= renewed.create_time.ToDatetime() + timedelta(minutes=6)
    assert renewed.idle_expire_time.ToDatetime() == renewed.last_seen_time.ToDatetime() + domain.REMEMBERED.idle
    assert (await gateway.validate(account.token)).session == renewed


async def test_passive_validation_does_not_renew(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(hours=1))
    looked_at = await gateway.validate(account.token, passive=True)
    assert looked_at.session.last_seen_time == looked_at.session.create_time
    assert not looked_at.is_renewed
    assert (await gateway.validate(account.token)).is_renewed


async def test_of_concurrent_validations_one_renews(
    gateway: Gateway,
    engine: AsyncEngine,
    shift: Any,
    waiting_for_locks: Callable[[], Awaitable[int]],
    eventually: Eventually,
) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=6))
    async with engine.begin() as holding:
        await holding.execute(
            sa.text("SELECT FROM auth.sessions WHERE session_id = :id FOR UPDATE"), {"id": account.session_id}
        )
        validating = [asyncio.create_task(gateway.validate(account.token)) for _ in range(5)]

        async def all_wait() -> bool:
            return await waiting_for_locks() == 5

        await eventually(all_wait)
    times = [answer.session.last_seen_time.ToNanoseconds() for answer in await asyncio.gather(*validating)]
    assert times == [times[0]] * 5


async def test_validation_is_one_query_unless_a_renewal_is_due(
    gateway: Gateway, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await gateway.account()
    statements: list[str] = []
    execute = driver.Connection.execute_prepared

    async def noted(conn: driver.Connection, query: bytes, *arguments: Any, **options: Any) -> Any:
        statements.append(query.decode())
        return await execute(conn, query, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(driver.Connection, "execute_prepared", noted)
        await Sessions(context).validate_session(account.token)
    assert len([statement for statement in statements if "auth.sessions" in statement]) == 1


async def test_renewal_does_not_revive_a_concurrently_revoked_session(
    gateway: Gateway,
    engine: AsyncEngine,
    shift: Any,
    waiting_for_locks: Callable[[], Awaitable[int]],
    eventually: Eventually,
) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=6))
    async with engine.begin() as revoking:
        session_id, user_id = uuid.UUID(account.session_id), uuid.UUID(account.user_id)
        await session_storage.revoke_session(revoking, user_id, session_id, domain.RevokeReason.REVOKED)
        validating = asyncio.create_task(gateway.validate(account.token))

        async def waits() -> bool:
            return await waiting_for_locks() == 1

        await eventually(waits)
    with pytest.raises(errors.Unauthenticated):
        await validating


@pytest.mark.parametrize("end", ["revoked_at = now(), revoke_reason = 'revoked'", "idle_expires_at = now()"])
async def test_renewal_does_not_change_an_ended_session(
    gateway: Gateway, engine: AsyncEngine, shift: Any, sql: Any, end: str
) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=6))
    await sql(f"UPDATE auth.sessions SET {end} WHERE session_id = :id", id=account.session_id)
    before = await sql("SELECT * FROM auth.sessions WHERE session_id = :id", id=account.session_id)
    async with engine.begin() as conn:
        await session_storage.renew_session(conn, uuid.UUID(account.session_id))
    assert await sql("SELECT * FROM auth.sessions WHERE session_id = :id", id=account.session_id) == before


async def test_long_ended_sessions_and_closed_windows_are_deleted(
    gateway: Gateway, context: Context, shift: Any, sql: Any
) -> None:
    old, recent, living = await gateway.account(), await gateway.account(), await gateway.account()
    revoked = await gateway.sign_in_again(living, remember=True)
    await gateway.revoke(revoked.session_id, user=living.identity)
    revoke = (
        "UPDATE auth.sessions SET created_at = created_at - :by, revoked_at = revoked_at - :by WHERE session_id = :id"
    )
    await sql(revoke, by=timedelta(days=7, minutes=1), id=revoked.session_id)
    await shift(old.session_id, timedelta(days=21, minutes=1))
    await shift(recent.session_id, timedelta(days=20))
    await sql("INSERT INTO auth.login_failures VALUES ('test:closed', 1, now() - interval '1 s')")
    await sql("INSERT INTO auth.login_failures VALUES ('test:open', 1, now() + interval '1 h')")
    await maintenance.delete_expired(context.engine)
    stored_sessions = await sql(
        "SELECT session_id::text AS id FROM auth.sessions WHERE user_id IN (:a, :b, :c)",
        a=old.user_id,
        b=recent.user_id,
        c=living.user_id,
    )
    assert {row.id for row in stored_sessions} == {recent.session_id, living.session_id}
    keys = await sql("DELETE FROM auth.login_failures WHERE key LIKE 'test:%' RETURNING key")
    assert [row.key for row in keys] == ["test:open"]


def _lifetime(token: str) -> float:
    claims = jwt.decode(token, options={"verify_signature": False})
    return float(claims["exp"] - claims["iat"])
