"""Account administration by admins, and its refusal to others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pyotp
import pytest

from chassis import errors
from repruv.auth.v1 import auth_pb2
from services.auth import domain
from services.auth.admin import seed
from services.auth.context import Context
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address, new_email
from tests.integration.auth.mailbox import Mailbox

CHANGING: dict[str, dict[str, Any]] = {
    "SetUserRole": {"role": auth_pb2.USER_ROLE_ADMIN},
    "DisableUser": {},
    "EnableUser": {},
    "RevokeUserSessions": {},
    "RevokeUserApiToken": {"token_id": "01990000-0000-7000-8000-000000000000"},
    "SendPasswordReset": {},
    "RemoveSecondFactor": {},
}
READING: dict[str, dict[str, Any]] = {"ListUsers": {}, "GetUser": {}, "ListSecurityEvents": {}}
OF_ONE = {*CHANGING, "GetUser"}
NOBODY = "00000000-0000-0000-0000-000000000000"


def fields(rpc: str, user_id: str) -> dict[str, Any]:
    return {**CHANGING.get(rpc, {}), **({"user_id": user_id} if rpc in OF_ONE else {})}


@pytest.mark.parametrize("rpc", [*CHANGING, *READING])
async def test_admin_calls_refuse_other_users(gateway: Gateway, rpc: str) -> None:
    account, other = await gateway.account(), await gateway.account()
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await gateway.admin(rpc, user=account.identity, **fields(rpc, other.user_id))
    assert excinfo.value.code == "admin_required"


@pytest.mark.parametrize("rpc", [*CHANGING, *READING])
async def test_a_demoted_admin_is_refused(
    gateway: Gateway, admin: Account, context: Context, sql: Any, rpc: str
) -> None:
    other = await gateway.account()
    await sql("UPDATE auth.users SET role = 'user' WHERE user_id = :id", id=admin.user_id)
    with pytest.raises(errors.PermissionDenied):
        await gateway.admin(rpc, user=admin.identity, **fields(rpc, other.user_id))
    await gateway.revoke(admin.session_id, user=admin.identity)
    with pytest.raises(errors.Unauthenticated):
        await gateway.admin(rpc, user=admin.identity, **fields(rpc, other.user_id))


@pytest.mark.parametrize("rpc", CHANGING)
async def test_changes_require_a_fresh_session(gateway: Gateway, admin: Account, shift: Any, rpc: str) -> None:
    account = await gateway.account()
    await shift(admin.session_id, domain.FRESH_FOR + timedelta(seconds=1))
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await gateway.admin(rpc, user=admin.identity, **fields(rpc, account.user_id))
    assert excinfo.value.code == "reauthentication_required"
    assert await gateway.admin("GetUser", user=admin.identity, user_id=account.user_id)


@pytest.mark.parametrize("rpc", sorted(OF_ONE))
async def test_an_account_must_exist(gateway: Gateway, admin: Account, rpc: str) -> None:
    with pytest.raises(errors.NotFound) as excinfo:
        await gateway.admin(rpc, user=admin.identity, **fields(rpc, NOBODY))
    assert excinfo.value.code == "user_not_found"


@pytest.mark.parametrize("rpc", ["SetUserRole", "DisableUser", "RemoveSecondFactor"])
async def test_admins_cannot_change_their_own_account(gateway: Gateway, admin: Account, rpc: str) -> None:
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await gateway.admin(rpc, user=admin.identity, **fields(rpc, admin.user_id))
    assert excinfo.value.code == "own_account"
    assert await gateway.is_valid(admin.token)


async def test_the_seeded_admin_is_verified(gateway: Gateway, admin: Account) -> None:
    assert (await gateway.validate(admin.token)).user.email_verified


async def test_a_role_change_ends_all_sessions(gateway: Gateway, admin: Account) -> None:
    account = await gateway.account()
    changed = await gateway.admin(
        "SetUserRole", user=admin.identity, user_id=account.user_id, role=auth_pb2.USER_ROLE_ADMIN
    )
    assert changed.user.role == auth_pb2.USER_ROLE_ADMIN
    assert not await gateway.is_valid(account.token)
    promoted = await gateway.sign_in_again(account)
    assert await gateway.admin("ListUsers", user=promoted.identity)
    # Repeating it changes nothing and ends no session.
    await gateway.admin("SetUserRole", user=admin.identity, user_id=account.user_id, role=auth_pb2.USER_ROLE_ADMIN)
    assert await gateway.is_valid(promoted.token)
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.admin("SetUserRole", user=admin.identity, user_id=account.user_id)
    assert excinfo.value.field == "role"


async def test_of_two_admins_who_demote_each_other_one_fails(gateway: Gateway, context: Context) -> None:
    admins = []
    for _ in range(2):
        email, ip_address = new_email(), new_address()
        await seed.ensure_admin(context, email=email, password=PASSWORD, beside_others=True)
        admins.append(await gateway.describe(await gateway.login(email, ip_address=ip_address), ip_address))
    first, second = admins
    role = auth_pb2.USER_ROLE_USER
    answers = await asyncio.gather(
        gateway.admin("SetUserRole", user=first.identity, user_id=second.user_id, role=role),
        gateway.admin("SetUserRole", user=second.identity, user_id=first.user_id, role=role),
        return_exceptions=True,
    )
    assert [answer.code for answer in answers if isinstance(answer, errors.Error)] == ["session_invalid"]


async def test_a_disabled_account_has_no_sessions_and_cannot_sign_in(
    gateway: Gateway, admin: Account, mailbox: Mailbox
) -> None:
    account = await gateway.account()
    await gateway.auth("RequestPasswordReset", email=account.email)
    link = await mailbox.link(account, "reset")
    for _ in range(2):
        disabled = await gateway.admin("DisableUser", user=admin.identity, user_id=account.user_id)
        assert disabled.user.HasField("disable_time")
    assert not await gateway.is_valid(account.token)
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await gateway.login(account.email, ip_address=account.ip_address)
    assert (excinfo.value.code, excinfo.value.field) == ("invalid_credentials", "")
    with pytest.raises(errors.InvalidArgument):
        await gateway.auth("ResetPassword", token=link, password="orchid-lantern-gravel")
    await gateway.auth("RequestPasswordReset", email=account.email)
    assert await mailbox.run(mailbox.jobs(account, "reset")[0]) == {"outcome": "no_account"}
    for _ in range(2):
        enabled = await gateway.admin("EnableUser", user=admin.identity, user_id=account.user_id)
        assert not enabled.user.HasField("disable_time")
    assert not await gateway.is_valid(account.token)
    assert await gateway.login(account.email, ip_address=account.ip_address)


async def test_disabling_revokes_platform_access_and_enabling_does_not_restore_it(
    gateway: Gateway, admin: Account, sql: Any
) -> None:
    account = await gateway.account()
    await sql(
        "INSERT INTO auth.connections (user_id, platform, state, previous_state, generation, version)"
        " VALUES (:id, 'youtube', 'connecting', 'disconnected', 1, 1)",
        id=account.user_id,
    )
    await gateway.admin("DisableUser", user=admin.identity, user_id=account.user_id)
    await gateway.admin("EnableUser", user=admin.identity, user_id=account.user_id)
    [row] = await sql("SELECT state, job_kind FROM auth.connections WHERE user_id = :id", id=account.user_id)
    assert tuple(row) == ("disconnecting", "auth.disconnect")
    [event] = await sql(
        "SELECT actor_id, details FROM auth.security_events WHERE user_id = :id AND kind = 'disconnected'",
        id=account.user_id,
    )
    assert (str(event.actor_id), event.details["reason"]) == (admin.user_id, "account_disabled")


async def test_a_concurrent_sign_in_does_not_bypass_disabling(gateway: Gateway, admin: Account) -> None:
    account = await gateway.account()
    logins = [gateway.login(account.email, ip_address=account.ip_address) for _ in range(6)]
    disabling = gateway.admin("DisableUser", user=admin.identity, user_id=account.user_id)
    *answers, _ = await asyncio.gather(*logins, disabling, return_exceptions=True)
    new_sessions = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert not any([await gateway.is_valid(session.token) for session in new_sessions])
    assert await gateway.sessions(account.identity) == []


async def test_an_admin_ends_one_or_all_sessions_of_a_user(gateway: Gateway, admin: Account) -> None:
    account = await gateway.account()
    second, third = await gateway.sign_in_again(account), await gateway.sign_in_again(account)

    async def revoke(**more: str) -> int:
        answer = await gateway.admin("RevokeUserSessions", user=admin.identity, user_id=account.user_id, **more)
        return int(answer.revoked_count)

    assert [await revoke(session_id=second.session_id) for _ in range(2)] == [1, 0]
    assert [await gateway.is_valid(holder.token) for holder in (account, second, third)] == [True, False, True]
    with pytest.raises(errors.NotFound) as excinfo:
        await revoke(session_id=admin.session_id)
    assert excinfo.value.code == "session_not_found"
    assert [await revoke() for _ in range(2)] == [2, 0]
    assert await gateway.is_valid(admin.token)


async def test_an_admin_begins_a_reset_and_never_chooses_the_password(
    gateway: Gateway, admin: Account, mailbox: Mailbox
) -> None:
    account = await gateway.account()
    await gateway.admin("SendPasswordReset", user=admin.identity, user_id=account.user_id)
    mail = await mailbox.deliver(account.email, "reset")
    assert (mail["To"], mail["Subject"]) == (account.email, "Set a new password")


async def test_an_admin_removes_the_second_factor_of_a_user_who_has_lost_it(
    gateway: Gateway, admin: Account, mailbox: Mailbox
) -> None:
    account = await gateway.account()
    code = pyotp.TOTP((await gateway.auth("BeginTotp", user=account.identity)).secret).now()
    session = await gateway.auth("ConfirmTotp", user=account.identity, code=code)
    challenged_login = await gateway.login(account.email, ip_address=account.ip_address)
    for _ in range(2):
        answer = await gateway.admin("RemoveSecondFactor", user=admin.identity, user_id=account.user_id)
        assert not answer.user.has_second_factor
    assert not await gateway.is_valid(session.token)
    with pytest.raises(errors.Unauthenticated):
        await gateway.auth("FinishLogin", challenge=challenged_login.challenge, code=session.recovery_codes[0])
    assert (await gateway.sign_in_again(account)).token
    mail = await mailbox.deliver(account, "notice", times=2)
    assert (mail["To"], mail["Subject"]) == (account.email, "Two-step verification is off")
    kind = "second_factor_disabled"
    events = await gateway.admin("ListSecurityEvents", user=admin.identity, user_id=account.user_id, kinds=[kind])
    assert [event.actor_id for event in events.events] == [admin.user_id]


async def test_accounts_are_listed_page_by_page_newest_first(gateway: Gateway, admin: Account) -> None:
    prefix = new_email().partition("@")[0]
    emails = [f"{prefix}.{number}_%@example.org" for number in range(5)]
    for email in emails:
        await gateway.register(email, ip_address=new_address())
    listed, page_token = [], ""
    while True:
        page = await gateway.admin(
            "ListUsers", user=admin.identity, email_prefix=prefix.upper(), page_size=2, page_token=page_token
        )
        listed += [user.email for user in page.users]
        if not (page_token := page.next_page_token):
            break
    assert listed == emails[::-1]

    async def read(**more: Any) -> tuple[list[str], Any]:
        page = await gateway.admin("ListUsers", user=admin.identity, email_prefix=prefix, page_size=2, **more)
        return [user.email for user in page.users], page

    first, page = await read(oldest_first=True, max_count=4)
    assert (first, page.count, page.previous_page_token) == (emails[:2], 4, "")
    second, page = await read(oldest_first=True, page_token=page.next_page_token)
    assert (second, page.count) == (emails[2:4], 0)
    assert (await read(oldest_first=True, page_token=page.previous_page_token))[0] == first
    with pytest.raises(errors.InvalidArgument):
        await read(page_token=page.next_page_token)  # of the other order
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await read(max_count=1_001)
    assert excinfo.value.field == "max_count"
    # Wildcards of LIKE are escaped.
    odd = await gateway.admin("ListUsers", user=admin.identity, email_prefix=f"{prefix[:-1]}_")
    assert list(odd.users) == []


@pytest.mark.parametrize("rpc", ["ListUsers", "ListSecurityEvents"])
@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"page_size": -1}, "page_size"), ({"page_token": "x"}, "page_token"), ({"page_token": "é" * 600}, "page_token")],
)
async def test_an_invalid_page_token_is_refused(
    gateway: Gateway, admin: Account, rpc: str, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.admin(rpc, user=admin.identity, **arguments)
    assert excinfo.value.field == field


async def test_events_are_listed_by_account_and_kind(gateway: Gateway, admin: Account) -> None:
    account = await gateway.account()
    for _ in range(3):
        await gateway.sign_in_again(account)
    await gateway.admin("DisableUser", user=admin.identity, user_id=account.user_id)

    async def listed(**more: Any) -> Any:
        return await gateway.admin("ListSecurityEvents", user=admin.identity, user_id=account.user_id, **more)

    everything = await listed()
    kinds = [event.kind for event in everything.events]
    assert kinds == ["account_disabled", *["login_succeeded"] * 3, "registered"]
    newest = everything.events[0]
    assert (newest.user_id, newest.actor_id, newest.session_id) == (account.user_id, admin.user_id, admin.session_id)
    assert newest.ip_address == admin.ip_address
    assert [event.kind for event in (await listed(oldest_first=True)).events] == kinds[::-1]
    assert (await listed(max_count=1_000)).count == 5
    first = await listed(kinds=["login_succeeded"], page_size=2, max_count=1_000)
    assert first.count == 3
    second = await listed(kinds=["login_succeeded"], page_size=2, page_token=first.next_page_token)
    assert [len(first.events), len(second.events), second.next_page_token] == [2, 1, ""]
    again = await listed(kinds=["login_succeeded"], page_size=2, page_token=second.previous_page_token)
    assert again.events == first.events
    assert list((await listed(kinds=["nothing"])).events) == []
    with pytest.raises(errors.InvalidArgument):
        await listed(page_token=first.next_page_token)
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.admin("ListSecurityEvents", user=admin.identity, user_id="x")
    assert excinfo.value.field == "user_id"
