"""Security events: actor, origin, same transaction as the change, no secrets."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import exc

from chassis import errors, postgres
from services.auth import audit, domain, maintenance
from services.auth.context import Context
from tests.integration.auth.conftest import PASSWORD, Account, Gateway, Mailbox, new_address, new_email

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


async def events(gateway: Gateway, account: Account) -> list[Any]:
    return list((await gateway.auth("GetSecurity", user=account.identity)).events)


async def test_successful_and_failed_sign_ins_are_recorded(gateway: Gateway) -> None:
    account = await gateway.account()
    stranger = new_address()
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(account.email, password="wrong", ip_address=stranger, user_agent=FIREFOX)
    again = await gateway.again(account)
    succeeded, failed, registered = await events(gateway, again)
    assert (succeeded.kind, failed.kind, registered.kind) == ("login_succeeded", "login_failed", "registered")
    assert (failed.ip_address, failed.client_name) == (stranger, "Firefox on Linux")
    assert (failed.user_id, failed.actor_id, failed.session_id) == (account.user_id, "", "")
    assert (succeeded.actor_id, succeeded.session_id) == (account.user_id, again.session_id)


async def test_the_last_twenty_events_are_returned_newest_first(gateway: Gateway) -> None:
    account = await gateway.account()
    for _ in range(21):
        last = await gateway.again(account)
    shown = await events(gateway, last)
    assert len(shown) == 20
    assert [event.event_id for event in shown] == sorted((event.event_id for event in shown), reverse=True)


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
    with pytest.raises(exc.IntegrityError) as refused:
        await sql(f"{change} WHERE user_id = :id", id=account.user_id)
    assert postgres.violated_constraint(refused.value) == "security_events_are_kept"


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
