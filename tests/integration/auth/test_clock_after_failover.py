"""A failover to a server whose clock is behind: what was stored before it lies in the future for a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from repruv.auth.v1 import api_token_pb2
from tests.integration.auth.client import PASSWORD, Gateway, new_email
from tests.integration.auth.mailbox import Mailbox

BEHIND = timedelta(seconds=45)


async def test_session_gets_a_new_token_before_its_beginning(gateway: Gateway, shift: Callable[..., Any]) -> None:
    account = await gateway.account()
    await shift(account.session_id, -BEHIND)
    proved = await gateway.auth("Reauthenticate", user=account.identity, password=PASSWORD)
    assert await gateway.is_valid(proved.token)
    assert proved.session.last_seen_time.ToDatetime() >= proved.session.create_time.ToDatetime()


async def test_api_token_is_used_before_its_creation(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account = await gateway.account()
    scopes = [api_token_pb2.API_TOKEN_SCOPE_READ]
    created = await gateway.api_token("CreateApiToken", user=account.identity, name="Report", scopes=scopes)
    statement = "UPDATE auth.api_tokens SET created_at = created_at + :by WHERE user_id = :user"
    await sql(statement, by=BEHIND, user=account.user_id)
    assert await gateway.is_valid(created.token)


async def test_address_is_confirmed_before_its_request(
    gateway: Gateway, mailbox: Mailbox, sql: Callable[..., Any]
) -> None:
    account, new = await gateway.account(), new_email()
    await gateway.auth("RequestEmailChange", user=account.identity, email=new)
    statement = "UPDATE auth.email_changes SET requested_at = requested_at + :by WHERE user_id = :user"
    await sql(statement, by=BEHIND, user=account.user_id)
    token = await mailbox.link(account, "confirm_email_change")
    assert (await gateway.auth("ConfirmEmailChange", token=token)).email == new
