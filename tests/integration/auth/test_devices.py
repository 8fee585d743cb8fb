"""Emails about sign-ins from new devices."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from repruv.auth.v1 import auth_pb2, auth_service_pb2
from services.auth import domain, maintenance
from services.auth.sessions import devices
from tests.integration.auth.client import PASSWORD, Account, Gateway
from tests.integration.auth.mailbox import Mailbox

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def sign_in(gateway: Gateway, account: Account, device: str, *, agent: str = "", address: str = "") -> Any:
    client = auth_pb2.Client(ip_address=address or account.ip_address, user_agent=agent, device=device)
    request = auth_service_pb2.LoginRequest(email=account.email, password=PASSWORD, client=client)
    return await gateway.call("Login", request)


def new_device() -> str:
    return secrets.token_urlsafe(24)


async def test_email_about_a_new_device_has_time_device_network_and_a_link(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await gateway.auth("UpdateProfile", user=account.identity, time_zone="Asia/Tokyo")
    new = await sign_in(gateway, account, new_device(), agent=FIREFOX, address="203.0.113.7")
    mail = await mailbox.deliver(account, "new_device")
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    at = datetime.fromtimestamp(new.session.create_time.seconds, ZoneInfo("Asia/Tokyo"))
    assert mail["to"] == account.email
    assert f"When: {at.day} {at:%b %Y, %H:%M} JST" in text
    assert "Device: Firefox on Linux" in text
    assert "IP address: 203.0.113.7" in text
    assert "https://repruv.example/settings/sessions" in text
    assert "token=" not in text


async def test_first_device_and_known_devices_send_no_email(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await gateway.sign_in_again(account)
    first, second = new_device(), new_device()
    await sign_in(gateway, account, first)
    await mailbox.deliver(account, "new_device")
    assert len(mailbox.jobs(account, "new_device")) == 1
    for device in (first, first, second, first, second):
        await sign_in(gateway, account, device)
    await mailbox.deliver(account, "new_device", times=2)
    assert len(mailbox.jobs(account, "new_device")) == 2


async def test_first_sign_in_of_an_account_without_devices_sends_no_email(
    gateway: Gateway, mailbox: Mailbox, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    await sql("DELETE FROM auth.devices WHERE user_id = :user", user=account.user_id)
    await sign_in(gateway, account, new_device())
    await sign_in(gateway, account, new_device())
    await mailbox.deliver(account, "new_device")
    assert len(mailbox.jobs(account, "new_device")) == 1


async def test_client_without_cookies_is_known_by_user_agent_and_network(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    for address in ("198.51.100.1", "198.51.100.1", "198.51.100.2"):
        await sign_in(gateway, account, "", agent="curl/8", address=address)
    await mailbox.deliver(account, "new_device", times=2)
    assert len(mailbox.jobs(account, "new_device")) == 2


async def test_client_that_is_always_new_does_not_flood_the_mailbox(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    for _ in range(6):
        await sign_in(gateway, account, new_device())
    await mailbox.deliver(account, "new_device", times=3)
    assert len(mailbox.jobs(account, "new_device")) == 3


async def test_devices_are_hashed_bounded_and_of_one_account(gateway: Gateway, engine: AsyncEngine) -> None:
    first, other = await gateway.account(), await gateway.account()
    device = new_device()
    await sign_in(gateway, first, device)
    await sign_in(gateway, other, device)
    user_id = uuid.UUID(first.user_id)
    client = domain.Client(user_agent="", ip_address="", device=device)
    assert devices.device_hash(user_id, client) != devices.device_hash(uuid.UUID(other.user_id), client)
    async with engine.begin() as conn:
        for _ in range(devices.PER_USER + 5):
            await devices.recognize(conn, user_id, secrets.token_bytes(32))
        rows = (await conn.exec_driver_sql("SELECT device_hash FROM auth.devices WHERE user_id = %s", (user_id,))).all()
    assert len(rows) == devices.PER_USER
    assert not any(device.encode() in row.device_hash for row in rows)


async def test_unused_devices_are_forgotten_but_the_last(
    gateway: Gateway, engine: AsyncEngine, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    await sign_in(gateway, account, new_device())
    shift = "UPDATE auth.devices SET first_seen_at = first_seen_at - :by, last_seen_at = last_seen_at - :by"
    await sql(f"{shift} WHERE user_id = :user", by=maintenance.DEVICE_RETENTION * 2, user=account.user_id)
    await maintenance.delete_expired(engine)
    [(count,)] = await sql("SELECT count(*) FROM auth.devices WHERE user_id = :user", user=account.user_id)
    assert count == 1


@pytest.mark.parametrize("device", ["x" * 65, "a b", "é", "a\n"])
async def test_malformed_device_is_refused(gateway: Gateway, device: str) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await sign_in(gateway, account, device)
    assert excinfo.value.field == "client"


async def test_database_rejects_illegal_devices(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account = await gateway.account()
    insert = "INSERT INTO auth.devices (device_hash, user_id, last_seen_at) VALUES (:hash, :user, :at)"
    now = datetime.now(ZoneInfo("UTC"))
    for hash_, at in ((b"short", now), (secrets.token_bytes(32), datetime(2000, 1, 1, tzinfo=ZoneInfo("UTC")))):
        with pytest.raises(exc.IntegrityError):
            await sql(insert, hash=hash_, user=account.user_id, at=at)
