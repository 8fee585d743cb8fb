"""Changes of the email address: requested, confirmed from the new address, revoked from the old one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, postgres
from repruv.auth.v1 import auth_pb2
from services.auth import maintenance, storage
from services.auth.email import jobs as email_jobs
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address, new_email
from tests.integration.auth.mailbox import Mailbox

CONFIRM, NOTICE = "confirm_email_change", "notice_of_email_change"
LINKS = {"ConfirmEmailChange": CONFIRM, "RevokeEmailChange": NOTICE}
NEW_PASSWORD = "marble-otter-kettle"


async def request(gateway: Gateway, account: Account, email: str, **fields: Any) -> Any:
    return await gateway.auth("RequestEmailChange", user=account.identity, email=email, **fields)


async def confirm(gateway: Gateway, mailbox: Mailbox, account: Account, *, times: int = 1) -> str:
    token = await mailbox.link(account, CONFIRM, times=times)
    return str((await gateway.auth("ConfirmEmailChange", token=token)).email)


async def refused(gateway: Gateway, rpc: str, **fields: Any) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.auth(rpc, **fields)
    assert excinfo.value.code == "token_invalid"


async def address(gateway: Gateway, account: Account) -> str:
    """Return the current address of an account whose first session is alive."""
    return str((await gateway.validate(account.token)).user.email)


async def verified(gateway: Gateway, mailbox: Mailbox) -> Account:
    account = await gateway.account()
    await gateway.auth("VerifyEmail", token=await mailbox.link(account, "verify"))
    return account


async def kinds(gateway: Gateway, account: Account) -> list[str]:
    return [event.kind for event in (await gateway.auth("GetSecurity", user=account.identity)).events]


async def test_address_changes_when_the_new_one_is_confirmed(gateway: Gateway, mailbox: Mailbox) -> None:
    account, new = await verified(gateway, mailbox), new_email()
    requested = await request(gateway, account, f" {new.upper()} ")
    confirmation, notice = await mailbox.deliver(account, CONFIRM), await mailbox.deliver(account, NOTICE)
    assert (confirmation["to"], notice["to"]) == (new, account.email)
    assert new in notice.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert await address(gateway, account) == account.email
    pending = (await gateway.auth("GetSecurity", user=account.identity)).email_change
    assert pending == requested.email_change
    assert pending.email == new
    token = await mailbox.link(account, CONFIRM)
    assert (await gateway.auth("ConfirmEmailChange", token=token)).email == new
    user = (await gateway.validate(account.token)).user
    assert (user.email, user.email_verified) == (new, True)
    assert (await kinds(gateway, account))[:2] == ["email_changed", "email_change_requested"]
    assert not (await gateway.auth("GetSecurity", user=account.identity)).HasField("email_change")
    await refused(gateway, "ConfirmEmailChange", token=token)
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(account.email, ip_address=new_address())
    assert (await gateway.login(new, ip_address=new_address())).token


async def test_change_requires_a_recent_proof(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=11))
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await request(gateway, account, new_email())
    assert excinfo.value.code == "reauthentication_required"


@pytest.mark.parametrize("email", ["", "nobody", "a@b@c", "x" * 300 + "@example.org", "mi\u202ena@example.org"])
async def test_invalid_address_is_refused(gateway: Gateway, email: str) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await request(gateway, account, email)
    assert (excinfo.value.code, excinfo.value.field) == ("invalid_email", "email")


async def test_present_address_is_no_change(gateway: Gateway) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await request(gateway, account, account.email.upper())
    assert (excinfo.value.code, excinfo.value.field) == ("email_unchanged", "email")


async def test_address_with_an_account_gets_the_same_response_and_no_link(gateway: Gateway, mailbox: Mailbox) -> None:
    account, other = await gateway.account(), await gateway.account()
    assert (await request(gateway, account, other.email)).email_change.email == other.email
    mail = await mailbox.deliver(account, CONFIRM)
    assert (mail["to"], mail["subject"]) == (other.email, "This address already has an account")
    assert "token=" not in mail.as_string()
    assert await kinds(gateway, account) == ["email_change_requested", "registered"]
    assert await kinds(gateway, other) == ["registered"]


async def test_address_that_got_an_account_meanwhile_cannot_be_confirmed(gateway: Gateway, mailbox: Mailbox) -> None:
    account, new = await gateway.account(), new_email()
    await request(gateway, account, new)
    token = await mailbox.link(account, CONFIRM)
    await gateway.register(new, ip_address=new_address())
    for _ in range(2):
        await refused(gateway, "ConfirmEmailChange", token=token)
    assert await address(gateway, account) == account.email
    assert (await kinds(gateway, account))[0] == "email_change_cancelled"


async def test_one_of_those_who_race_for_an_address_gets_it(gateway: Gateway, mailbox: Mailbox) -> None:
    accounts, new = [await gateway.account() for _ in range(2)], new_email()
    tokens = []
    for account in accounts:
        await request(gateway, account, new)
        tokens.append(await mailbox.link(account, CONFIRM))
    results = await asyncio.gather(
        *(gateway.auth("ConfirmEmailChange", token=token) for token in tokens),
        gateway.register(new, ip_address=new_address()),
        return_exceptions=True,
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    assert len(failures) == 2
    assert all(isinstance(failure, errors.InvalidArgument | errors.AlreadyExists) for failure in failures), failures


async def test_new_request_replaces_the_pending_one(gateway: Gateway, mailbox: Mailbox) -> None:
    account, first, second = await gateway.account(), new_email(), new_email()
    await request(gateway, account, first)
    to_confirm, to_revoke = await mailbox.link(account, CONFIRM), await mailbox.link(account, NOTICE)
    await request(gateway, account, second)
    await refused(gateway, "ConfirmEmailChange", token=to_confirm)
    await refused(gateway, "RevokeEmailChange", token=to_revoke)
    assert (await mailbox.run(mailbox.jobs(account, CONFIRM)[0]))["outcome"] == "obsolete"
    assert await confirm(gateway, mailbox, account, times=2) == second


async def test_repeated_email_voids_the_previous_link(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await request(gateway, account, new_email())
    first = await mailbox.link(account, CONFIRM)
    second = await mailbox.link(account, CONFIRM)
    await refused(gateway, "ConfirmEmailChange", token=first)
    await gateway.auth("ConfirmEmailChange", token=second)


async def test_cancelled_change_cannot_be_confirmed(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await request(gateway, account, new_email())
    token = await mailbox.link(account, CONFIRM)
    for _ in range(2):
        await gateway.auth("CancelEmailChange", user=account.identity)
    await refused(gateway, "ConfirmEmailChange", token=token)
    assert (await kinds(gateway, account)).count("email_change_cancelled") == 1


@pytest.mark.parametrize("recovery", ["reset", "change", "disable", "end_all", "end_all_users", "role"])
async def test_pending_change_ends_when_the_account_is_recovered(
    gateway: Gateway, mailbox: Mailbox, admin: Account, recovery: str
) -> None:
    account = await verified(gateway, mailbox)
    await request(gateway, account, new_email())
    token = await mailbox.link(account, CONFIRM)
    password = PASSWORD
    if recovery == "reset":
        await gateway.auth("RequestPasswordReset", email=account.email)
        password, link = NEW_PASSWORD, await mailbox.link(account, "reset")
        await gateway.auth("ResetPassword", token=link, password=password)
    elif recovery == "change":
        password, fields = NEW_PASSWORD, {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        await gateway.auth("ChangePassword", user=account.identity, **fields)
    elif recovery == "disable":
        for rpc in ("DisableUser", "EnableUser"):
            await gateway.admin(rpc, user=admin.identity, user_id=account.user_id)
    elif recovery == "end_all":
        await gateway.admin("RevokeUserSessions", user=admin.identity, user_id=account.user_id)
    elif recovery == "end_all_users":
        await gateway.admin("RevokeAllUsersSessions", user=admin.identity)
    else:
        role = auth_pb2.USER_ROLE_ADMIN
        await gateway.admin("SetUserRole", user=admin.identity, user_id=account.user_id, role=role)
    await refused(gateway, "ConfirmEmailChange", token=token)
    back = await gateway.sign_in_again(account, password=password)
    assert back.email == account.email
    assert (await kinds(gateway, back)).count("email_change_cancelled") == 1


async def test_links_expire(gateway: Gateway, mailbox: Mailbox, sql: Any, engine: AsyncEngine) -> None:
    account = await gateway.account()
    await request(gateway, account, new_email())
    to_confirm, to_revoke = await mailbox.link(account, CONFIRM), await mailbox.link(account, NOTICE)
    shift = """
        UPDATE auth.email_changes SET requested_at = requested_at - :by, expires_at = expires_at - :by,
            revocable_until = revocable_until - :by WHERE user_id = :user
    """
    await sql(shift, by=timedelta(hours=24, seconds=1), user=account.user_id)
    await refused(gateway, "ConfirmEmailChange", token=to_confirm)
    await refused(gateway, "RevokeEmailChange", token=to_revoke)
    assert not (await gateway.auth("GetSecurity", user=account.identity)).HasField("email_change")
    await sql(shift, by=timedelta(days=7), user=account.user_id)
    await maintenance.delete_expired(engine)
    assert await sql("SELECT 1 FROM auth.email_changes WHERE user_id = :user", user=account.user_id) == []


async def test_old_address_revokes_a_pending_change_and_ends_all_sessions(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await request(gateway, account, new_email())
    to_confirm, to_revoke = await mailbox.link(account, CONFIRM), await mailbox.link(account, NOTICE)
    await gateway.auth("RevokeEmailChange", token=to_revoke)
    assert not await gateway.is_valid(account.token)
    await refused(gateway, "ConfirmEmailChange", token=to_confirm)
    await refused(gateway, "RevokeEmailChange", token=to_revoke)
    assert (await gateway.sign_in_again(account)).email == account.email


async def test_verified_old_address_takes_the_account_back_through_later_changes(
    gateway: Gateway, mailbox: Mailbox
) -> None:
    account, third = await verified(gateway, mailbox), new_email()
    await request(gateway, account, new_email())
    to_revoke = await mailbox.link(account, NOTICE)
    await confirm(gateway, mailbox, account)
    # A thief changes it once more: the first notice still undoes both.
    await request(gateway, account, third)
    of_thief = await mailbox.link(account, NOTICE, times=2)
    await confirm(gateway, mailbox, account, times=2)
    await gateway.auth("RequestPasswordReset", email=third)
    reset = await mailbox.link(third, "reset")
    await gateway.auth("RevokeEmailChange", token=to_revoke)
    assert not await gateway.is_valid(account.token)
    back = await gateway.sign_in_again(account)
    assert back.email == account.email
    assert "email_change_revoked" in await kinds(gateway, back)
    await refused(gateway, "RevokeEmailChange", token=of_thief)
    await refused(gateway, "RevokeEmailChange", token=to_revoke)
    await refused(gateway, "ResetPassword", token=reset, password=NEW_PASSWORD)


async def test_unverified_old_address_does_not_take_a_changed_account_back(gateway: Gateway, mailbox: Mailbox) -> None:
    account, new = await gateway.account(), new_email()
    await request(gateway, account, new)
    assert new not in (await mailbox.deliver(account, NOTICE)).as_string()
    to_revoke = await mailbox.link(account, NOTICE)
    await confirm(gateway, mailbox, account)
    await refused(gateway, "RevokeEmailChange", token=to_revoke)
    assert await address(gateway, account) == new


async def test_old_address_that_has_another_account_is_not_taken_from_it(gateway: Gateway, mailbox: Mailbox) -> None:
    account, new = await verified(gateway, mailbox), new_email()
    await request(gateway, account, new)
    to_revoke = await mailbox.link(account, NOTICE)
    await confirm(gateway, mailbox, account)
    await gateway.register(account.email, ip_address=new_address())
    await refused(gateway, "RevokeEmailChange", token=to_revoke)
    assert await address(gateway, account) == new


async def test_links_of_the_old_address_are_void_after_the_change(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    verify = await mailbox.link(account, "verify")
    await gateway.auth("RequestPasswordReset", email=account.email)
    reset = await mailbox.link(account, "reset")
    await request(gateway, account, new_email())
    await confirm(gateway, mailbox, account)
    await refused(gateway, "VerifyEmail", token=verify)
    await refused(gateway, "ResetPassword", token=reset, password=NEW_PASSWORD)


@pytest.mark.parametrize("change", ["ConfirmEmailChange", "RevokeEmailChange"])
async def test_address_that_is_taken_from_the_account_meanwhile_gets_no_link(
    gateway: Gateway, mailbox: Mailbox, sql: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    account, new = await verified(gateway, mailbox), new_email()
    await request(gateway, account, new)
    links = {name: await mailbox.link(account, purpose) for name, purpose in LINKS.items()}
    taken = account.email
    if change == "RevokeEmailChange":
        await gateway.auth("ConfirmEmailChange", token=links["ConfirmEmailChange"])
        taken = new
    find_account = storage.find_account

    async def change_after_read(conn: AsyncConnection, email: str) -> storage.Account | None:
        old_account = await find_account(conn, email)
        monkeypatch.setattr(storage, "find_account", find_account)
        await gateway.auth(change, token=links[change])
        return old_account

    monkeypatch.setattr(storage, "find_account", change_after_read)
    reset = email_jobs.Payload(email_jobs.Purpose.RESET, email=taken)
    assert (await mailbox.run(reset))["outcome"] == "obsolete"
    query = "SELECT 1 FROM auth.mail_tokens WHERE user_id = :user AND purpose = 'reset'"
    assert await sql(query, user=account.user_id) == []


async def test_requests_are_limited_by_account_and_by_recipient(gateway: Gateway) -> None:
    account, victim = await gateway.account(), new_email()
    for _ in range(3):
        await request(gateway, account, new_email())
        await request(gateway, await gateway.account(), victim)
    for requester, email in ((account, new_email()), (await gateway.account(), victim)):
        with pytest.raises(errors.ResourceExhausted) as excinfo:
            await request(gateway, requester, email)
        assert excinfo.value.code == "too_many_attempts"


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("new_email = old_email", "email_changes_are_changes"),
        ("new_email = 'Mina@example.org'", "email_changes_new_is_normalized"),
        ("expires_at = requested_at", "email_changes_times_are_in_order"),
        ("revocable_until = requested_at", "email_changes_times_are_in_order"),
        ("confirmed_at = expires_at + interval '1 s'", "email_changes_confirmed_in_time"),
        ("confirm_hash = 'short'", "email_changes_confirm_is_hashed"),
        ("confirmed_at = requested_at, confirm_hash = decode(repeat('ab', 32), 'hex')", "email_changes_confirmed_once"),
    ],
)
async def test_database_rejects_illegal_changes(gateway: Gateway, sql: Any, change: str, constraint: str) -> None:
    account = await gateway.account()
    await request(gateway, account, new_email())
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(f"UPDATE auth.email_changes SET {change} WHERE user_id = :user", user=account.user_id)
    assert postgres.violated_constraint(excinfo.value) == constraint


async def test_database_rejects_a_second_pending_change(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    await request(gateway, account, new_email())
    copied = """
        INSERT INTO auth.email_changes (change_id, user_id, old_email, new_email, was_verified, expires_at, revocable_until)
        SELECT gen_random_uuid(), user_id, old_email, new_email, was_verified, expires_at, revocable_until
        FROM auth.email_changes WHERE user_id = :user
    """
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(copied, user=account.user_id)
    assert postgres.violated_constraint(excinfo.value) == "email_changes_one_pending"


async def test_strangers_of_the_same_network_do_not_block_a_change(gateway: Gateway) -> None:
    ip_address = new_address()
    for _ in range(20):
        await gateway.auth("RequestPasswordReset", email=new_email(), ip_address=ip_address)
    await request(gateway, await gateway.account(), new_email(), ip_address=ip_address)
