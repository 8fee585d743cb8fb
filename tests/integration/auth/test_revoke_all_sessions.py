"""Revocation of all users' sessions, as after a break-in."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, outbox
from repruv.auth.v1 import auth_events_pb2
from services.auth import domain
from services.auth.admin import operations as admin_operations
from services.auth.admin import revoke_all_sessions
from services.auth.context import Context
from tests.integration.auth.client import Account, Gateway


class RecordingRelay(outbox.Sender):
    """Records committed messages and sends none."""

    def __init__(self, messages: list[outbox.Message]) -> None:
        self._messages = messages

    def send(self, messages: Iterable[outbox.Message]) -> None:
        self._messages += messages


RPC = "RevokeAllUsersSessions"


async def test_an_admin_revokes_all_users_sessions_but_their_own(
    gateway: Gateway, admin: Account, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoke_all_sessions, "BATCH", 2)
    # Small batches of all earlier tests' sessions can take longer than one call may.
    monkeypatch.setattr(admin_operations, "REVOKE_ALL_SECONDS", 60.0)
    accounts = [await gateway.account() for _ in range(3)]
    accounts.append(await gateway.sign_in_again(accounts[0]))
    ended = await gateway.admin(RPC, user=admin.identity)
    assert (ended.revoked_count >= 4, ended.has_more) == (True, False)
    assert not any([await gateway.is_valid(holder.token) for holder in accounts])
    assert await gateway.is_valid(admin.token)
    assert await gateway.sign_in_again(accounts[0])
    [event] = await sql(
        "SELECT kind, user_id, details FROM auth.security_events WHERE actor_id = :id ORDER BY event_id DESC LIMIT 1",
        id=admin.user_id,
    )
    assert (event.kind, event.user_id, event.details["scope"]) == ("sessions_revoked", None, "all_users")


async def test_the_shell_revokes_admins_sessions_too_and_publishes_every_revocation(
    gateway: Gateway, admin: Account, context: Context
) -> None:
    account = await gateway.account()
    messages: list[outbox.Message] = []
    ended = await revoke_all_sessions.revoke_all_sessions(
        replace(context, relay=RecordingRelay(messages)), admin=None, seconds=20
    )
    assert not ended.has_more
    assert [await gateway.is_valid(holder.token) for holder in (account, admin)] == [False, False]
    events = [auth_events_pb2.SessionsRevoked.FromString(message.payload) for message in messages]
    assert {(account.user_id, account.session_id), (admin.user_id, admin.session_id)} <= {
        (event.user_id, session_id) for event in events for session_id in event.session_ids
    }
    assert {event.reason for event in events} == {"revoked_by_admin"}


async def test_a_locked_session_is_revoked_later(
    gateway: Gateway, admin: Account, context: Context, engine: AsyncEngine
) -> None:
    account = await gateway.account()
    actor = domain.Actor(user_id=uuid.UUID(admin.user_id), session_id=uuid.UUID(admin.session_id))
    async with engine.begin() as conn:
        lock = sa.text("SELECT 1 FROM auth.sessions WHERE session_id = :id FOR UPDATE")
        await conn.execute(lock, {"id": account.session_id})
        assert (await revoke_all_sessions.revoke_all_sessions(context, admin=actor, seconds=0.2)).has_more
    assert not (await revoke_all_sessions.revoke_all_sessions(context, admin=actor, seconds=20)).has_more
    assert not await gateway.is_valid(account.token)


async def test_other_users_and_admins_without_a_fresh_session_are_refused(
    gateway: Gateway, admin: Account, shift: Any
) -> None:
    account = await gateway.account()
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await gateway.admin(RPC, user=account.identity)
    assert excinfo.value.code == "admin_required"
    await shift(admin.session_id, domain.FRESH_FOR + timedelta(seconds=1))
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await gateway.admin(RPC, user=admin.identity)
    assert excinfo.value.code == "reauthentication_required"
    assert await gateway.is_valid(account.token)
