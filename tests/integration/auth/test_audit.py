"""Security events: actor, origin, same transaction as the change, no secrets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from chassis import errors, postgres
from chassis.owner_rows import OwnerRows
from services.auth import audit, domain, maintenance
from services.auth.context import Context
from services.auth.data_export import owner_rows
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address, new_email
from tests.integration.auth.mailbox import Mailbox

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


async def events(gateway: Gateway, account: Account) -> list[Any]:
    return list((await gateway.auth("GetSecurity", user=account.identity)).events)


async def test_successful_and_failed_sign_ins_are_recorded(gateway: Gateway) -> None:
    account = await gateway.account()
    stranger = new_address()
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(account.email, password="wrong", ip_address=stranger, user_agent=FIREFOX)
    again = await gateway.sign_in_again(account)
    succeeded, failed, registered = await events(gateway, again)
    assert (succeeded.kind, failed.kind, registered.kind) == ("login_succeeded", "login_failed", "registered")
    assert (failed.ip_address, failed.client_name) == (stranger, "Firefox on Linux")
    assert (failed.user_id, failed.actor_id, failed.session_id) == (account.user_id, "", "")
    assert (succeeded.actor_id, succeeded.session_id) == (account.user_id, again.session_id)


async def test_the_last_twenty_events_are_returned_newest_first(gateway: Gateway) -> None:
    account = await gateway.account()
    for _ in range(21):
        last = await gateway.sign_in_again(account)
    latest_events = await events(gateway, last)
    assert len(latest_events) == 20
    assert [event.event_id for event in latest_events] == sorted(
        (event.event_id for event in latest_events), reverse=True
    )


async def test_a_change_whose_event_fails_is_rolled_back(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    await sql("ALTER TABLE auth.security_events ADD CONSTRAINT no_events CHECK (false) NOT VALID")
    try:
        with pytest.raises(errors.Error):
            await gateway.revoke_all(user=account.identity)
    finally:
        await sql("ALTER TABLE auth.security_events DROP CONSTRAINT no_events")
    assert await gateway.is_valid(account.token)


async def test_a_detail_cannot_forge_a_line(context: Context, gateway: Gateway) -> None:
    account = await gateway.account()
    async with context.engine.begin() as conn:
        actor = domain.Actor(user_id=uuid.UUID(account.user_id), session_id=uuid.UUID(account.session_id))
        odd = "youtube\r\n2026-01-01 login_succeeded\x1b[2J\u2028" + "x" * 500
        await audit.record(conn, audit.Kind.CONNECTED, audit.by_owner(actor), platform=odd)
    [event, _] = await events(gateway, account)
    assert event.details["platform"].startswith("youtube  2026-01-01 login_succeeded [2J x")
    assert len(event.details["platform"]) == audit.DETAIL_LIMIT
    assert event.ip_address == account.ip_address  # of the session


@pytest.mark.parametrize(
    "change", ["UPDATE auth.security_events SET kind = 'connected'", "DELETE FROM auth.security_events"]
)
async def test_events_are_immutable_for_a_year(gateway: Gateway, sql: Any, change: str) -> None:
    account = await gateway.account()
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(f"{change} WHERE user_id = :id", id=account.user_id)
    assert postgres.violated_constraint(excinfo.value) == "security_events_are_kept"


async def test_events_are_deleted_after_a_year(context: Context, sql: Any) -> None:
    insert = (
        "INSERT INTO auth.security_events (event_id, kind, ip_address, client_name, details, occurred_at)"
        " VALUES (gen_random_uuid(), 'registered', '', :name, '{}', now() - CAST(:ago AS interval))"
    )
    mark = new_email()
    await sql(insert, name=mark, ago="367 days")
    await sql(insert, name=mark, ago="365 days")
    await maintenance.delete_expired(context.engine)
    rows = await sql(
        "SELECT now() - occurred_at < interval '366 days' AS is_young FROM auth.security_events WHERE client_name = :name",
        name=mark,
    )
    assert [row.is_young for row in rows] == [True]


async def test_events_of_strangers_are_deleted_after_a_month(context: Context, sql: Any) -> None:
    insert = (
        "INSERT INTO auth.security_events (event_id, kind, actor_id, ip_address, client_name, details, occurred_at)"
        " VALUES (gen_random_uuid(), :kind, CAST(:actor AS uuid), '', :name, '{}', now() - CAST(:ago AS interval))"
    )
    mark = new_email()
    for kind in audit.ATTEMPTS:
        await sql(insert, kind=kind.value, actor=None, name=mark, ago="32 days")
    stored_rows = [
        ("login_failed", None, "30 days"),
        ("login_failed", str(uuid.uuid4()), "32 days"),
        ("registered", None, "32 days"),
    ]
    for kind_, actor, ago in stored_rows:
        await sql(insert, kind=kind_, actor=actor, name=mark, ago=ago)
    await maintenance.delete_expired(context.engine)
    rows = await sql(
        "SELECT kind, CAST(actor_id AS text) FROM auth.security_events WHERE client_name = :name", name=mark
    )
    assert sorted((row.kind, row.actor_id or "") for row in rows) == sorted(
        (kind, actor or "") for kind, actor, _ in stored_rows
    )


async def test_backlog_of_old_rows_is_deleted_in_one_pass(
    context: Context, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 10)
    mark = new_email()
    await sql(
        "INSERT INTO auth.login_failures (key, failures, window_ends_at)"
        " SELECT :mark || n, 1, now() - interval '1 hour' FROM generate_series(1, 500) n",
        mark=mark,
    )
    await maintenance.delete_expired(context.engine)
    assert await sql("SELECT 1 FROM auth.login_failures WHERE key LIKE :mark", mark=f"{mark}%") == []


async def test_deletion_that_fails_keeps_no_other_from_its_rows(
    context: Context, sql: Any, database_url: Callable[[str], str]
) -> None:
    mark = new_email()
    await sql(
        "INSERT INTO auth.login_failures (key, failures, window_ends_at) VALUES (:mark, 1, now() - interval '1 hour')",
        mark=mark,
    )
    async with context.engine.connect() as conn:
        await conn.execute(sa.text("LOCK TABLE auth.sessions IN SHARE MODE"))
        hasty = postgres.engine(database_url("auth"), name="test-hasty", lock_seconds=0.5)
        with pytest.raises(exc.DBAPIError):
            await maintenance.delete_expired(hasty)
        await hasty.dispose()
    assert await sql("SELECT 1 FROM auth.login_failures WHERE key = :mark", mark=mark) == []


async def test_own_sign_ins_of_a_day_are_recorded_up_to_a_bound(
    gateway: Gateway, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "EVENTS_PER_DAY", 3)
    clock = Mock(wraps=datetime)
    clock.now.return_value = datetime.now(UTC)
    monkeypatch.setattr(audit, "datetime", clock)
    account, other = await gateway.account(), await gateway.account()
    for _ in range(5):
        account = await gateway.sign_in_again(account)
    recorded = await events(gateway, account)
    assert [event.kind for event in recorded] == ["login_succeeded"] * 3 + ["registered"]
    assert ["further" in event.details for event in recorded] == [True, False, False, False]
    # Neither those of another kind, nor of another actor or account, nor of earlier days count.
    user_id = uuid.UUID(account.user_id)
    async with context.engine.begin() as conn:
        for origin in (
            audit.Origin(user_id=user_id, actor_id=uuid.UUID(other.user_id), client=domain.NOWHERE),
            audit.Origin(user_id=uuid.UUID(other.user_id), actor_id=uuid.UUID(other.user_id), client=domain.NOWHERE),
        ):
            await audit.record(conn, audit.Kind.LOGIN_SUCCEEDED, origin)
        await audit.record(conn, audit.Kind.CONNECTED, audit.Origin(user_id=user_id, client=domain.NOWHERE))
    assert (await events(gateway, account))[0].kind == "connected"
    assert (await events(gateway, other))[0].kind == "login_succeeded"
    clock.now.return_value += timedelta(days=1)
    last = await gateway.sign_in_again(account)
    [latest, *_] = await events(gateway, last)
    assert (latest.kind, latest.session_id) == ("login_succeeded", last.session_id)


async def test_guesses_at_an_account_are_recorded_up_to_a_bound(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ATTEMPTS_PER_ACCOUNT", 3)
    account = await gateway.account()
    for _ in range(5):
        with pytest.raises(errors.Unauthenticated):
            await gateway.login(account.email, password="wrong", ip_address=new_address())
    failed = [event for event in await events(gateway, account) if event.kind == "login_failed"]
    assert ["further" in event.details for event in failed] == [True, False, False]


async def test_guesses_at_addresses_without_account_are_recorded_up_to_a_bound(
    gateway: Gateway, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "GROUPS_WITHOUT_ACCOUNT", 1)
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(new_email(), password="wrong", ip_address=new_address())
    [(count,)] = await sql("SELECT failures FROM auth.login_failures WHERE key = 'events:0'")
    monkeypatch.setattr(audit, "ATTEMPTS_PER_ACCOUNT", count + 2)
    mark = new_email()
    for number in range(4):
        with pytest.raises(errors.Unauthenticated):
            await gateway.login(f"{number}{mark}", password="wrong", ip_address=new_address())
    rows = await sql("SELECT 1 FROM auth.security_events WHERE details->>'email' LIKE :mark", mark=f"%{mark}")
    assert len(rows) == 2


async def test_attempt_at_an_address_without_account_waits_for_few_others(gateway: Gateway, context: Context) -> None:
    """Only such addresses would wait for each other: the time of an answer would tell which ones have accounts."""
    waiting, other = new_email(), new_email()
    while audit.group_without_account(waiting) == audit.group_without_account(other):
        other = new_email()
    async with context.engine.connect() as conn:
        await audit.record_attempt(conn, audit.Kind.LOGIN_FAILED, None, domain.NOWHERE, email=waiting)
        async with asyncio.timeout(20):  # less than the lock timeout of the tests
            await gateway.auth("RequestPasswordReset", email=other)


async def test_the_database_accepts_every_kind_of_event(sql: Any) -> None:
    [(check,)] = await sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'security_events_kind_is_known'"
    )
    assert all(f"'{kind}'" in check for kind in audit.Kind)
    [(check,)] = await sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'sessions_revoke_reason_is_known'"
    )
    assert all(f"'{reason}'" in check for reason in domain.RevokeReason)


async def test_tables_contain_neither_tokens_nor_passwords(gateway: Gateway, mailbox: Mailbox, sql: Any) -> None:
    account = await gateway.account()
    await gateway.auth("RequestPasswordReset", email=account.email)
    link = await mailbox.link(account, "reset")
    tables = [
        row.table_name
        for row in await sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'auth'")
    ]
    assert {"users", "sessions", "mail_tokens", "security_events", "outbox"} <= set(tables)
    for table in tables:
        [(text,)] = await sql(f"SELECT coalesce(string_agg(t::text, ''), '') FROM auth.{table} t")
        assert not [secret for secret in (account.token, link, PASSWORD) if secret in text], table


async def test_owner_learns_that_an_admin_acted_and_nothing_about_the_admin(
    gateway: Gateway, context: Context, admin: Account
) -> None:
    account = await gateway.account()
    await gateway.admin("RevokeUserSessions", user=admin.identity, user_id=account.user_id)
    [ended] = [
        event for event in await events(gateway, await gateway.sign_in_again(account)) if "revoked" in event.kind
    ]
    assert (ended.kind, ended.client_name) == ("sessions_revoked", audit.ADMINISTRATOR)
    assert (ended.actor_id, ended.session_id, ended.ip_address) == ("", "", "")
    rows = OwnerRows(engine=context.engine, tables=owner_rows.TABLES, left_out=owner_rows.LEFT_OUT)
    exported = b"".join([part.rows async for part in rows.stream(uuid.UUID(account.user_id))]).decode()
    assert account.ip_address in exported
    assert not any(text in exported for text in (admin.user_id, admin.session_id, admin.ip_address))
    page = await gateway.admin("ListSecurityEvents", user=admin.identity, user_id=account.user_id)
    [recorded] = [event for event in page.events if event.kind == "sessions_revoked"]
    assert (recorded.actor_id, recorded.session_id) == (admin.user_id, admin.session_id)
    assert recorded.ip_address == admin.ip_address
