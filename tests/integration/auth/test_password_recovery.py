"""Password changes with the current password, and resets by an emailed link."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from chassis import errors
from services.auth import throttling
from services.auth.email.jobs import Payload, Purpose
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address, new_email
from tests.integration.auth.mailbox import Mailbox

NEW = "orchid-lantern-gravel"
WRONG = "not-the-password-at-all"


async def change(gateway: Gateway, account: Account, *, current: str = PASSWORD, new: str = NEW) -> Any:
    return await gateway.auth(
        "ChangePassword",
        user=account.identity,
        ip_address=account.ip_address,
        current_password=current,
        new_password=new,
    )


async def forgot(gateway: Gateway, email: str, ip_address: str = "") -> None:
    await gateway.auth("RequestPasswordReset", email=email, ip_address=ip_address or new_address())


async def reset(gateway: Gateway, token: str, password: str = NEW) -> None:
    await gateway.auth("ResetPassword", token=token, password=password, ip_address=new_address())


async def test_a_password_change_ends_other_sessions_and_replaces_the_token(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    others = [await gateway.sign_in_again(account) for _ in range(2)]
    changed = await change(gateway, account)
    assert (changed.session.session_id, changed.revoked_count) == (account.session_id, 2)
    for old in (account, *others):
        assert not await gateway.is_valid(old.token)
    assert await gateway.is_valid(changed.token)
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(account.email, ip_address=account.ip_address)
    assert await gateway.login(account.email, password=NEW, ip_address=account.ip_address)
    assert (await mailbox.deliver(account, "notice"))["Subject"] == "Your password was changed"


async def test_a_password_change_requires_the_current_password_and_counts_guesses(gateway: Gateway) -> None:
    account = await gateway.account()
    for _ in range(throttling.FAILURES_PER_ACCOUNT):
        with pytest.raises(errors.Unauthenticated) as excinfo:
            await change(gateway, account, current=WRONG)
        assert (excinfo.value.code, excinfo.value.field) == ("invalid_credentials", "current_password")
    with pytest.raises(errors.ResourceExhausted):
        await change(gateway, account)
    assert await gateway.is_valid(account.token)


@pytest.mark.parametrize("new", ["short", "password123", "x" * 129, "tulip\x00anvil-rowing"])
async def test_a_bad_new_password_is_refused_before_anything_is_counted(gateway: Gateway, sql: Any, new: str) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await change(gateway, account, current=WRONG, new=new)
    assert excinfo.value.field == "new_password"
    assert await sql("SELECT FROM auth.login_failures WHERE key LIKE :key", key=f"account:{account.email}%") == []


async def test_of_concurrent_password_changes_one_succeeds(gateway: Gateway) -> None:
    account = await gateway.account()
    answers = await asyncio.gather(
        *(change(gateway, account, new=f"{NEW}-{position}") for position in range(4)), return_exceptions=True
    )
    codes = [answer.code for answer in answers if isinstance(answer, errors.Error)]
    assert codes == ["invalid_credentials"] * 3


async def test_a_reset_link_works_once_ends_all_sessions_and_begins_none(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await forgot(gateway, account.email.upper())
    token = await mailbox.link(account, "reset")
    await reset(gateway, token)
    assert not await gateway.is_valid(account.token)
    assert await gateway.sessions(account.identity) == []
    login = await gateway.login(account.email, password=NEW, ip_address=account.ip_address)
    assert login.user.email_verified  # the reset proves that the user receives the emails
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await reset(gateway, token, f"{NEW}-again")
    assert (excinfo.value.code, excinfo.value.field) == ("token_invalid", "token")


async def test_of_concurrent_resets_one_succeeds(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await forgot(gateway, account.email)
    token = await mailbox.link(account, "reset")
    answers = await asyncio.gather(
        *(reset(gateway, token, f"{NEW}-{position}") for position in range(4)), return_exceptions=True
    )
    assert [answer.code for answer in answers if isinstance(answer, errors.Error)] == ["token_invalid"] * 3


async def test_a_refused_password_leaves_the_link_valid(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await forgot(gateway, account.email)
    token = await mailbox.link(account, "reset")
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await reset(gateway, token, "short")
    assert excinfo.value.field == "password"
    await reset(gateway, token)


async def test_a_reset_link_expires_after_half_an_hour(gateway: Gateway, mailbox: Mailbox, sql: Any) -> None:
    account = await gateway.account()
    await forgot(gateway, account.email)
    token = await mailbox.link(account, "reset")
    [(lasts,)] = await sql(
        "UPDATE auth.mail_tokens SET expires_at = expires_at - interval '30 minutes' WHERE user_id = :id"
        " RETURNING expires_at - now() <= interval '0'",
        id=account.user_id,
    )
    assert lasts
    with pytest.raises(errors.InvalidArgument):
        await reset(gateway, token)


async def test_only_the_newest_link_is_valid(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await forgot(gateway, account.email)
    first = await mailbox.link(account, "reset")
    await forgot(gateway, account.email)
    second = await mailbox.link(account, "reset", times=2)
    with pytest.raises(errors.InvalidArgument):
        await reset(gateway, first)
    await reset(gateway, second)


@pytest.mark.parametrize("token", ["", "rpl_", "rpl_" + "x" * 43, "rpv_" + "x" * 43, "\x00", "x" * 10_000])
async def test_an_unknown_link_is_invalid(gateway: Gateway, token: str) -> None:
    for rpc, fields in (("ResetPassword", {"password": NEW}), ("VerifyEmail", {})):
        with pytest.raises(errors.InvalidArgument) as excinfo:
            await gateway.auth(rpc, token=token, **fields)
        assert (excinfo.value.code, excinfo.value.field) == ("token_invalid", "token")


async def test_a_link_is_valid_for_its_purpose_only(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    verify = await mailbox.link(account, "verify")
    with pytest.raises(errors.InvalidArgument):
        await reset(gateway, verify)
    await gateway.auth("VerifyEmail", token=verify)


async def test_a_change_voids_links_and_challenges(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await forgot(gateway, account.email)
    token = await mailbox.link(account, "reset")
    await change(gateway, account)
    with pytest.raises(errors.InvalidArgument):
        await reset(gateway, token)


async def test_reset_requests_do_not_reveal_accounts_and_submit_the_same_job(
    gateway: Gateway, mailbox: Mailbox, sql: Any
) -> None:
    account, unknown = await gateway.account(), new_email()
    for email in (account.email, unknown):
        await forgot(gateway, email)
    assert await mailbox.link(account.email, "reset")
    payload = Payload(Purpose.RESET, email=unknown)
    async with asyncio.timeout(60):
        while not mailbox.jobs(unknown, "reset"):
            await asyncio.sleep(0.01)
    assert mailbox.jobs(unknown, "reset") == [payload]
    assert await mailbox.run(payload) == {"outcome": "no_account"}
    rows = await sql(
        "SELECT user_id, kind FROM auth.security_events WHERE details->>'email' IN (:a, :b)", a=account.email, b=unknown
    )
    assert {(row.user_id, row.kind) for row in rows} == {
        (uuid.UUID(account.user_id), "password_reset_requested"),
        (None, "password_reset_requested"),
    }


async def test_emails_to_one_address_are_throttled_across_networks(gateway: Gateway) -> None:
    for email in ((await gateway.account()).email, new_email()):
        for spelling in (email, email.upper(), f" {email} "):
            await forgot(gateway, spelling)
        with pytest.raises(errors.ResourceExhausted) as excinfo:
            await forgot(gateway, email)
        assert excinfo.value.code == "too_many_attempts"
        assert int(excinfo.value.details["retry_after_seconds"]) <= 15 * 60


async def test_a_burst_of_reset_requests_gets_no_extra_emails(gateway: Gateway) -> None:
    email = new_email()
    answers = await asyncio.gather(*(forgot(gateway, email) for _ in range(8)), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, errors.ResourceExhausted)]
    assert len(refusals) == 8 - throttling.EMAILS_PER_RECIPIENT


async def test_emails_are_throttled_per_network(gateway: Gateway) -> None:
    ip_address = new_address()
    for _ in range(throttling.EMAILS_PER_NETWORK):
        await forgot(gateway, new_email(), ip_address)
    with pytest.raises(errors.ResourceExhausted):
        await forgot(gateway, new_email(), ip_address)


async def test_an_invalid_address_is_refused(gateway: Gateway) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await forgot(gateway, "ada\x00@example.org")
    assert excinfo.value.field == "email"
