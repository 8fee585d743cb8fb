"""API tokens: their creation, what they allow, and everything that ends them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import exc

from chassis import errors, identity, postgres
from repruv.auth.v1 import api_token_pb2, auth_service_pb2
from services.auth import maintenance
from services.auth.admin import revoke_all_sessions
from services.auth.api_tokens import domain as token_domain
from services.auth.api_tokens.operations import ApiTokens
from services.auth.context import Context
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address
from tests.integration.auth.mailbox import Mailbox

READ, WRITE = api_token_pb2.API_TOKEN_SCOPE_READ, api_token_pb2.API_TOKEN_SCOPE_WRITE
End = Callable[[Gateway, Account, Account, Mailbox], Awaitable[Any]]


async def create(gateway: Gateway, account: Account, name: str = "Report", **fields: Any) -> Any:
    return await gateway.api_token("CreateApiToken", user=account.identity, name=name, **{"scopes": [READ], **fields})


async def listed(gateway: Gateway, account: Account) -> list[Any]:
    return list((await gateway.api_token("ListApiTokens", user=account.identity)).api_tokens)


async def is_active(gateway: Gateway, token: str) -> bool:
    """Return whether an API token is accepted."""
    return await gateway.is_valid(token, code="api_token_invalid")


async def test_token_is_shown_once_and_stored_as_a_hash(
    gateway: Gateway, mailbox: Mailbox, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    created = await create(gateway, account, " Nightly report ", scopes=[WRITE, WRITE])
    assert created.api_token.name == "Nightly report"
    assert list(created.api_token.scopes) == [READ, WRITE]
    lifetime = created.api_token.expire_time.ToDatetime() - created.api_token.create_time.ToDatetime()
    assert lifetime == timedelta(days=90)
    assert await listed(gateway, account) == [created.api_token]
    [row] = await sql("SELECT * FROM auth.api_tokens WHERE user_id = :user", user=account.user_id)
    assert created.token not in str(row)
    [event] = await sql(
        "SELECT details, session_id FROM auth.security_events WHERE kind = 'api_token_created' AND user_id = :user",
        user=account.user_id,
    )
    assert event.details == {
        "token_id": created.api_token.token_id,
        "name": "Nightly report",
        "scopes": "read write",
    }
    assert str(event.session_id) == account.session_id
    email = await mailbox.deliver(account, "new_api_token")
    body = email.get_body(("plain",))
    assert body is not None
    assert "Name: Nightly report" in body.get_content()
    assert created.token not in email.as_string()


async def test_identity_of_a_token_has_its_scopes_and_no_admin_role(
    gateway: Gateway, admin: Account, verifier: identity.Verifier
) -> None:
    created = await create(gateway, admin)
    validated = await gateway.validate(created.token)
    assert not validated.HasField("session")
    assert validated.api_token.token_id == created.api_token.token_id
    user = verifier.user(validated.identity)
    assert (user.user_id, user.role, user.scopes) == (admin.user_id, "user", frozenset({"read"}))
    for rpc in ("ListSessions", "GetSecurity", "UpdateProfile", "CancelDeletion"):
        with pytest.raises(errors.PermissionDenied) as excinfo:
            await gateway.auth(rpc, user=validated.identity)
        assert excinfo.value.code == "session_required"
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await gateway.admin("ListUsers", user=validated.identity)
    assert excinfo.value.code == "session_required"
    with pytest.raises(errors.PermissionDenied):
        await gateway.api_token("CreateApiToken", user=validated.identity, name="Another", scopes=[READ])


async def test_identity_does_not_outlive_its_token(
    gateway: Gateway, verifier: identity.Verifier, sql: Callable[..., Any]
) -> None:
    created = await create(gateway, await gateway.account())
    statement = (
        "UPDATE auth.api_tokens SET expires_at = now() + interval '20 s' WHERE token_id = :id RETURNING expires_at"
    )
    [row] = await sql(statement, id=created.api_token.token_id)
    validated = await gateway.validate(created.token)
    assert validated.identity_expire_time.ToDatetime() <= row.expires_at.replace(tzinfo=None) + timedelta(seconds=1)


async def test_tokens_and_sessions_are_validated_together(gateway: Gateway) -> None:
    account = await gateway.account()
    created = await create(gateway, account)
    tokens = [account.token, created.token, created.token[:-1], "rpv_x", account.token]
    request = auth_service_pb2.ValidateSessionsRequest(
        sessions=[auth_service_pb2.ValidateSessionRequest(token=token) for token in tokens]
    )
    results = (await gateway.call("ValidateSessions", request)).results
    assert [result.HasField("validated") for result in results] == [True, True, False, False, True]
    assert [result.validated.HasField("api_token") for result in results] == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": [0]}, "scopes"),
        ({"scopes": [READ, 9]}, "scopes"),
        ({"lifetime_days": -1}, "lifetime_days"),
        ({"lifetime_days": 366}, "lifetime_days"),
    ],
)
async def test_invalid_input_names_its_field(gateway: Gateway, fields: dict[str, Any], field: str) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await create(gateway, account, **fields)
    assert excinfo.value.field == field


async def test_creating_and_revoking_need_a_fresh_session(gateway: Gateway, shift: Callable[..., Any]) -> None:
    account = await gateway.account()
    created = await create(gateway, account)
    await shift(account.session_id, timedelta(minutes=11))
    for call in (
        create(gateway, account),
        gateway.api_token("RevokeApiToken", user=account.identity, token_id=created.api_token.token_id),
    ):
        with pytest.raises(errors.PermissionDenied) as excinfo:
            await call
        assert excinfo.value.code == "reauthentication_required"
    assert await is_active(gateway, created.token)


async def test_revoked_token_ends_and_stays_ended(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account, stranger = await gateway.account(), await gateway.account()
    created = await create(gateway, account)
    token_id = created.api_token.token_id
    for unknown in (token_id, str(uuid.uuid4())):
        with pytest.raises(errors.NotFound) as excinfo:
            await gateway.api_token("RevokeApiToken", user=stranger.identity, token_id=unknown)
        assert excinfo.value.code == "api_token_not_found"
    assert await is_active(gateway, created.token)
    for _ in range(2):
        await gateway.api_token("RevokeApiToken", user=account.identity, token_id=token_id)
    assert not await is_active(gateway, created.token)
    assert await listed(gateway, account) == []
    events = "SELECT FROM auth.security_events WHERE kind = 'api_token_revoked' AND user_id = :user"
    assert len(await sql(events, user=account.user_id)) == 1


async def test_expired_token_is_refused_listed_and_later_deleted(
    gateway: Gateway, context: Context, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    created = await create(gateway, account, lifetime_days=1)
    age = """
        UPDATE auth.api_tokens SET created_at = created_at - :by, expires_at = expires_at - :by WHERE token_id = :id
    """
    await sql(age, id=created.api_token.token_id, by=timedelta(days=2))
    assert not await is_active(gateway, created.token)
    assert [each.token_id for each in await listed(gateway, account)] == [created.api_token.token_id]
    await maintenance.delete_expired(context.engine)
    assert len(await listed(gateway, account)) == 1
    await sql(age, id=created.api_token.token_id, by=token_domain.RETENTION)
    await maintenance.delete_expired(context.engine)
    assert await listed(gateway, account) == []


async def test_last_use_is_noted_once_in_a_while(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account = await gateway.account()
    created = await create(gateway, account)
    await gateway.validate(created.token, passive=True)
    [unused] = await listed(gateway, account)
    assert not unused.HasField("last_use_time")
    await gateway.validate(created.token)
    [used] = await listed(gateway, account)
    assert used.HasField("last_use_time")
    [before] = await sql("SELECT xmin FROM auth.api_tokens WHERE user_id = :user", user=account.user_id)
    await gateway.validate(created.token)
    assert await sql("SELECT xmin FROM auth.api_tokens WHERE user_id = :user", user=account.user_id) == [before]


async def test_users_have_at_most_20_active_tokens_also_at_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.throttling.CHANGES_PER_ACCOUNT", 1_000)
    account = await gateway.account()
    for _ in range(token_domain.PER_USER - 1):
        await create(gateway, account)
    results = await asyncio.gather(*(create(gateway, account) for _ in range(4)), return_exceptions=True)
    refusals = [result for result in results if isinstance(result, errors.FailedPrecondition)]
    assert [error.code for error in refusals] == ["too_many_api_tokens"] * 3
    first = (await listed(gateway, account))[-1]
    await gateway.api_token("RevokeApiToken", user=account.identity, token_id=first.token_id)
    await create(gateway, account)
    assert len(await listed(gateway, account)) == token_domain.PER_USER


async def test_creation_is_throttled_and_ended_tokens_are_bounded(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    monkeypatch.setattr("services.auth.api_tokens.storage.PER_USER", 2)
    for _ in range(10):
        created = await create(gateway, account)
        await gateway.api_token("RevokeApiToken", user=account.identity, token_id=created.api_token.token_id)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await create(gateway, account)
    assert excinfo.value.code == "too_many_attempts"
    assert int(excinfo.value.details["retry_after_seconds"]) > 0
    assert len(await sql("SELECT FROM auth.api_tokens WHERE user_id = :user", user=account.user_id)) == 3


async def change_password(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    fields = {"current_password": PASSWORD, "new_password": "another-good-one"}
    await gateway.auth("ChangePassword", user=account.identity, ip_address=account.ip_address, **fields)


async def reset_password(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    await gateway.auth("RequestPasswordReset", email=account.email, ip_address=account.ip_address)
    token = await mailbox.link(account, "reset")
    await gateway.auth("ResetPassword", token=token, password="another-good-one", ip_address=account.ip_address)


async def revoke_email_change(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    request = {"email": f"new-{account.email}", "ip_address": account.ip_address}
    await gateway.auth("RequestEmailChange", user=account.identity, **request)
    token = await mailbox.link(account, "notice_of_email_change")
    await gateway.auth("RevokeEmailChange", token=token, ip_address=account.ip_address)


async def request_deletion(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    await gateway.auth("RequestDeletion", user=account.identity, email=account.email, ip_address=account.ip_address)


async def change_role(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    await gateway.admin("SetUserRole", user=admin.identity, user_id=account.user_id, role=2)


async def disable(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    await gateway.admin("DisableUser", user=admin.identity, user_id=account.user_id)


async def sign_out(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    await gateway.admin("RevokeUserSessions", user=admin.identity, user_id=account.user_id)


async def delete_by_admin(gateway: Gateway, account: Account, admin: Account, mailbox: Mailbox) -> None:
    await gateway.admin("RequestUserDeletion", user=admin.identity, user_id=account.user_id)


@pytest.mark.parametrize(
    "end",
    [
        change_password,
        reset_password,
        revoke_email_change,
        request_deletion,
        change_role,
        disable,
        sign_out,
        delete_by_admin,
    ],
)
async def test_what_ends_all_access_ends_tokens(
    gateway: Gateway, admin: Account, mailbox: Mailbox, sql: Callable[..., Any], end: End
) -> None:
    account, other = await gateway.account(), await gateway.account()
    created, others = await create(gateway, account), await create(gateway, other)
    await end(gateway, account, admin, mailbox)
    assert not await is_active(gateway, created.token)
    assert await is_active(gateway, others.token)
    events = "SELECT details FROM auth.security_events WHERE kind = 'api_token_revoked' AND user_id = :user"
    [event] = await sql(events, user=account.user_id)
    assert event.details["count"] == "1"


async def test_signing_out_everywhere_leaves_tokens(gateway: Gateway) -> None:
    account = await gateway.account()
    created = await create(gateway, account)
    assert await gateway.revoke_all(user=account.identity) == 1
    assert await is_active(gateway, created.token)


async def test_revoking_all_users_sessions_revokes_all_tokens(gateway: Gateway, context: Context) -> None:
    created = [await create(gateway, await gateway.account()) for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revoke_all_sessions, "BATCH", 2)
        outcome = await revoke_all_sessions.revoke_all_sessions(context, admin=None, seconds=60)
    assert not outcome.has_more
    assert [await is_active(gateway, each.token) for each in created] == [False] * 3


async def test_admin_lists_and_revokes_tokens_of_a_user(gateway: Gateway, admin: Account) -> None:
    account = await gateway.account()
    created = await create(gateway, account)
    [token] = (await gateway.admin("GetUser", user=admin.identity, user_id=account.user_id)).api_tokens
    assert token == created.api_token
    revoke = {"user_id": account.user_id, "token_id": token.token_id}
    with pytest.raises(errors.NotFound):
        await gateway.admin("RevokeUserApiToken", user=admin.identity, **{**revoke, "user_id": admin.user_id})
    for _ in range(2):
        await gateway.admin("RevokeUserApiToken", user=admin.identity, **revoke)
    assert not await is_active(gateway, created.token)
    with pytest.raises(errors.PermissionDenied):
        await gateway.admin("RevokeUserApiToken", user=account.identity, **revoke)


async def test_operator_revokes_a_leaked_token(gateway: Gateway, context: Context) -> None:
    created = await create(gateway, await gateway.account())
    operations = ApiTokens(context)
    assert await operations.revoke_leaked(created.token[:-1]) is None
    assert await operations.revoke_leaked(created.token.replace("rpa_", "rpv_")) is None
    for _ in range(2):
        assert str(await operations.revoke_leaked(created.token)) == created.api_token.token_id
    assert not await is_active(gateway, created.token)


async def test_tokens_go_with_the_account(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account = await gateway.account()
    await create(gateway, account)
    await sql("DELETE FROM auth.users WHERE user_id = :user", user=account.user_id)
    assert await sql("SELECT FROM auth.api_tokens WHERE user_id = :user", user=account.user_id) == []


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("token_hash = 'short'", "api_tokens_are_hashed"),
        ("name = ''", "api_tokens_name_is_short"),
        ("name = repeat('x', 101)", "api_tokens_name_is_short"),
        ("scopes = '{}'", "api_tokens_scopes_are_known"),
        ("scopes = ARRAY['admin']", "api_tokens_scopes_are_known"),
        ("scopes = ARRAY['write']", "api_tokens_scopes_are_known"),
        ("scopes = ARRAY['read', 'read']", "api_tokens_scopes_are_known"),
        ("expires_at = created_at", "api_tokens_expire"),
        ("expires_at = created_at + interval '367 days'", "api_tokens_expire"),
        ("last_used_at = created_at - interval '1 s'", "api_tokens_are_used_while_they_exist"),
        ("revoked_at = created_at - interval '1 s'", "api_tokens_are_revoked_after_creation"),
    ],
)
async def test_an_illegal_token_is_refused(
    gateway: Gateway, sql: Callable[..., Any], change: str, constraint: str
) -> None:
    created = await create(gateway, await gateway.account())
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(f"UPDATE auth.api_tokens SET {change} WHERE token_id = :id", id=created.api_token.token_id)
    assert postgres.violated_constraint(excinfo.value) == constraint


async def test_creation_is_recorded_with_the_client(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account, address = await gateway.account(), new_address()
    await create(gateway, account, client={"ip_address": address})
    events = "SELECT ip_address FROM auth.security_events WHERE kind = 'api_token_created' AND user_id = :user"
    assert [row.ip_address for row in await sql(events, user=account.user_id)] == [address]
