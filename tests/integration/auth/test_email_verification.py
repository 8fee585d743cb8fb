"""Address verification, what it allows, and registration by email."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chassis import errors, identity
from chassis.rpc import client
from repruv.auth.v1 import auth_service_pb2
from services.auth import domain
from services.auth import storage as account_storage
from services.auth.context import Context
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address, new_email
from tests.integration.auth.conftest import PUBLIC_URL, VERIFICATION_PERIOD, served
from tests.integration.auth.mailbox import Mailbox, token_in


@pytest.fixture
async def by_mail(
    context: Context, verifier: identity.Verifier, signer: Callable[[str], identity.Signer]
) -> AsyncIterator[Gateway]:
    """Yield a gateway to the service with REGISTRATION=verified."""
    async with served(replace(context, is_registration_open=False), verifier) as channel:
        yield Gateway(channel, client.Caller(signer("gateway")))


async def test_registration_emails_a_link_that_verifies_once(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    assert not (await gateway.validate(account.token)).user.email_verified
    mail = await mailbox.deliver(account, "verify")
    assert mail["To"] == account.email
    token = token_in(mail)
    html = mail.get_body(("html",))
    assert html is not None
    assert f'href="{PUBLIC_URL}/verify-email?token={token}"' in html.get_content()
    await gateway.auth("VerifyEmail", token=token)
    assert (await gateway.validate(account.token)).user.email_verified
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.auth("VerifyEmail", token=token)
    assert excinfo.value.code == "token_invalid"


async def test_another_link_can_be_requested_until_the_address_is_verified(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    first = await mailbox.link(account, "verify")
    await gateway.auth("RequestEmailVerification", user=account.identity)
    second = await mailbox.link(account, "verify", times=2)
    with pytest.raises(errors.InvalidArgument):
        await gateway.auth("VerifyEmail", token=first)
    await gateway.auth("VerifyEmail", token=second)
    await gateway.auth("RequestEmailVerification", user=account.identity)
    assert len(mailbox.jobs(account, "verify")) == 2
    assert await mailbox.run(mailbox.jobs(account, "verify")[-1]) == {"outcome": "already_verified"}


async def test_link_requests_are_throttled(gateway: Gateway) -> None:
    account = await gateway.account()
    for _ in range(3):
        await gateway.auth("RequestEmailVerification", user=account.identity)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await gateway.auth("RequestEmailVerification", user=account.identity)
    assert excinfo.value.code == "too_many_attempts"


async def test_a_verification_link_expires_after_a_day(gateway: Gateway, mailbox: Mailbox, sql: Any) -> None:
    account = await gateway.account()
    token = await mailbox.link(account, "verify")
    await sql(
        "UPDATE auth.mail_tokens SET expires_at = expires_at - interval '24 hours' WHERE user_id = :id",
        id=account.user_id,
    )
    with pytest.raises(errors.InvalidArgument):
        await gateway.auth("VerifyEmail", token=token)


async def test_the_dashboard_is_open_during_the_verification_period_and_to_verified_users(
    gateway: Gateway, mailbox: Mailbox, sql: Any, verifier: identity.Verifier
) -> None:
    account = await gateway.account()

    async def access(token: str) -> tuple[bool, bool]:
        validated = await gateway.validate(token)
        return validated.user.can_access_dashboard, verifier.user(validated.identity).can_access_dashboard

    assert await access(account.token) == (True, True)
    await sql(
        "UPDATE auth.users SET created_at = created_at - :by WHERE user_id = :id",
        by=VERIFICATION_PERIOD,
        id=account.user_id,
    )
    assert await access(account.token) == (False, False)
    await gateway.auth("VerifyEmail", token=await mailbox.link(account, "verify"))
    assert await access(account.token) == (True, True)


@pytest.mark.parametrize(
    ("role", "is_verified", "period", "allowed"),
    [
        (domain.Role.USER, False, timedelta(days=7), False),
        (domain.Role.USER, False, timedelta(0), True),
        (domain.Role.USER, False, timedelta(days=9), True),
        (domain.Role.USER, True, timedelta(days=7), True),
        (domain.Role.ADMIN, False, timedelta(days=7), True),
    ],
)
async def test_dashboard_access_by_verification(
    role: domain.Role, is_verified: bool, period: timedelta, allowed: bool, context: Context, gateway: Gateway
) -> None:
    account = await gateway.account()
    async with context.autocommit().connect() as conn:
        row = await account_storage.find_account(conn, account.email)
    assert row is not None
    user = replace(
        row.user,
        role=role,
        age=timedelta(days=8),
        email_verified_at=row.user.created_at if is_verified else None,
    )
    assert user.can_access_dashboard(period) is allowed


async def test_registration_by_email_answers_the_same_for_new_and_existing_accounts(
    by_mail: Gateway, gateway: Gateway, mailbox: Mailbox
) -> None:
    account, fresh = await gateway.account(), new_email()
    answers = [await by_mail.register(email, ip_address=new_address()) for email in (account.email, fresh)]
    assert answers == [auth_service_pb2.RegisterResponse()] * 2
    message = await mailbox.deliver(account.email, "registered")
    assert message["Subject"] == "You already have an account"
    assert "rpl_" not in message.as_string()
    login = await gateway.login(fresh, ip_address=new_address())
    registered: Account = await gateway.describe(login, new_address())
    await gateway.auth("VerifyEmail", token=await mailbox.link(registered, "verify"))
    assert (await gateway.validate(registered.token)).user.email_verified


async def test_registration_by_email_keeps_the_password_of_an_existing_account(
    by_mail: Gateway, gateway: Gateway
) -> None:
    account = await gateway.account()
    await by_mail.register(account.email, password="somebody-elses-password", ip_address=new_address())
    assert await gateway.login(account.email, password=PASSWORD, ip_address=account.ip_address)


async def test_registration_by_email_is_throttled_per_address(by_mail: Gateway, gateway: Gateway) -> None:
    for email in ((await gateway.account()).email, new_email()):
        for _ in range(3):
            await by_mail.register(email, ip_address=new_address())
        with pytest.raises(errors.ResourceExhausted):
            await by_mail.register(email, ip_address=new_address())
