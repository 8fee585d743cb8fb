"""Passkeys: adding, signing in, removing, and the refusal of invalid ones."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chassis import errors
from chassis.rpc import client
from services.auth import maintenance
from services.auth.context import Context
from services.auth.passkeys.relying_party import RelyingParty
from tests.integration.auth.authenticator import PRESENT, SYNCABLE, SYNCED, VERIFIED, Authenticator
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address
from tests.integration.auth.conftest import PUBLIC_URL, served
from tests.integration.auth.mailbox import Mailbox

RP_ID = "repruv.example"


def new_authenticator(**more: Any) -> Authenticator:
    return Authenticator(rp_id=RP_ID, origin=PUBLIC_URL, **more)


async def begin(gateway: Gateway, account: Account) -> Any:
    return (await gateway.passkey("BeginAddPasskey", user=account.identity)).ceremony


async def finish(gateway: Gateway, account: Account, ceremony: str, credential: str, name: str = "") -> Any:
    request = {"ceremony": ceremony, "credential": credential, "name": name}
    return (await gateway.passkey("FinishAddPasskey", user=account.identity, **request)).passkey


async def add(gateway: Gateway, account: Account, name: str = "", **more: Any) -> Authenticator:
    authenticator, ceremony = new_authenticator(**more), await begin(gateway, account)
    await finish(gateway, account, ceremony.ceremony, authenticator.make(ceremony.options), name)
    return authenticator


async def begin_login(gateway: Gateway, ip_address: str = "") -> Any:
    return (await gateway.passkey("BeginPasskeyLogin", ip_address=ip_address)).ceremony


async def log_in(gateway: Gateway, authenticator: Authenticator, ip_address: str = "", **changed: str) -> Any:
    ceremony = await begin_login(gateway)
    signed = authenticator.sign(ceremony.options, **changed)
    return await gateway.passkey(
        "FinishPasskeyLogin", ceremony=ceremony.ceremony, credential=signed, ip_address=ip_address, remember=True
    )


async def is_refused(code: str, call: Any) -> bool:
    with pytest.raises(errors.Error) as excinfo:
        await call
    assert excinfo.value.code == code
    return True


async def kinds(gateway: Gateway, account: Account) -> list[str]:
    return [event.kind for event in (await gateway.auth("GetSecurity", user=account.identity)).events]


async def passkeys(gateway: Gateway, account: Account) -> list[Any]:
    return list((await gateway.passkey("ListPasskeys", user=account.identity)).passkeys)


async def test_a_passkey_signs_in_without_password_and_code(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    ceremony = await begin(gateway, account)
    decoded = json.loads(ceremony.options)
    assert decoded["rp"] == {"id": RP_ID, "name": "Repruv"}
    assert decoded["attestation"] == "none"
    criteria = {"residentKey": "required", "requireResidentKey": True, "userVerification": "required"}
    assert decoded["authenticatorSelection"] == criteria
    authenticator = new_authenticator()
    added = await finish(gateway, account, ceremony.ceremony, authenticator.make(ceremony.options), "Phone")
    assert (added.name, added.is_syncable, added.is_synced, added.HasField("last_use_time")) == (
        "Phone",
        True,
        True,
        False,
    )
    assert (await mailbox.deliver(account, "notice"))["Subject"] == "A passkey was added"

    signing = json.loads((await begin_login(gateway)).options)
    assert (signing["allowCredentials"], signing["userVerification"], signing["rpId"]) == ([], "required", RP_ID)
    login = await log_in(gateway, authenticator)
    assert (login.user.user_id, login.session.is_remembered) == (account.user_id, True)
    again = await gateway.describe(login, account.ip_address)
    assert (await kinds(gateway, again))[:3] == ["passkey_used", "login_succeeded", "passkey_added"]
    [listed_passkey] = await passkeys(gateway, account)
    assert listed_passkey.HasField("last_use_time")
    # The session is fresh, so it can add a second passkey; the first again is refused.
    decoded = json.loads((await begin(gateway, again)).options)
    assert len(decoded["excludeCredentials"]) == 1


async def test_a_passkey_reauthenticates(gateway: Gateway, shift: Any) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account)
    await shift(account.session_id, timedelta(minutes=11))
    assert await is_refused("reauthentication_required", begin(gateway, account))
    user = {"user": account.identity}
    ceremony = (await gateway.passkey("BeginPasskeyReauthentication", **user)).ceremony
    proof = {"ceremony": ceremony.ceremony, "credential": authenticator.sign(ceremony.options)}
    proved = await gateway.passkey("FinishPasskeyReauthentication", **user, **proof)
    assert not await gateway.is_valid(account.token)
    assert (await gateway.validate(proved.token)).session.session_id == account.session_id
    await begin(gateway, account)
    assert (await kinds(gateway, account))[:2] == ["passkey_used", "reauthenticated"]
    assert await is_refused("challenge_invalid", gateway.passkey("FinishPasskeyReauthentication", **user, **proof))


async def test_another_users_passkey_does_not_reauthenticate(gateway: Gateway) -> None:
    account, other = await gateway.account(), await gateway.account()
    await add(gateway, account)
    other_passkey = await add(gateway, other)
    ceremony = (await gateway.passkey("BeginPasskeyReauthentication", user=account.identity)).ceremony
    proof = {"ceremony": ceremony.ceremony, "credential": other_passkey.sign(ceremony.options)}
    call = gateway.passkey("FinishPasskeyReauthentication", user=account.identity, **proof)
    assert await is_refused("passkey_invalid", call)
    assert await gateway.is_valid(account.token)
    # The event belongs to the account that tried, not to the owner of the passkey.
    assert (await kinds(gateway, account))[0] == "passkey_failed"
    assert "passkey_failed" not in await kinds(gateway, other)


@pytest.mark.parametrize(
    ("lie", "changed"),
    [
        ({"origin": "https://repruv.example.org"}, {}),
        ({"origin": "https://login.repruv.example"}, {}),
        ({"origin": "https://repruv.example:8443"}, {}),
        ({"rp_id": "example.org"}, {}),
        ({"flags": PRESENT | SYNCABLE | SYNCED}, {}),
        ({"flags": VERIFIED | SYNCABLE | SYNCED}, {}),
        ({"flags": PRESENT | VERIFIED}, {}),
        ({"user_handle": uuid.uuid4().bytes}, {}),
        ({"user_handle": None}, {}),
        ({}, {"challenge": "AAAA"}),
        ({}, {"type": "webauthn.create"}),
    ],
)
async def test_an_invalid_assertion_is_refused(gateway: Gateway, lie: dict[str, Any], changed: dict[str, str]) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account)
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator.but(**lie), **changed))
    assert (await kinds(gateway, account))[0] == "passkey_failed"
    assert (await log_in(gateway, authenticator)).token


async def test_unknown_passkey_foreign_key_and_disabled_account_answer_the_same(
    gateway: Gateway, admin: Account
) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account)
    assert await is_refused("passkey_invalid", log_in(gateway, new_authenticator(user_handle=b"1" * 16)))
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator.but(key=new_authenticator().key)))
    ceremony = await begin_login(gateway)
    long = json.dumps(json.loads(authenticator.sign(ceremony.options)) | {"more": "x" * 16_384})
    fields = {"ceremony": ceremony.ceremony, "credential": long}
    assert await is_refused("passkey_invalid", gateway.passkey("FinishPasskeyLogin", **fields))
    await gateway.admin("DisableUser", user=admin.identity, user_id=account.user_id)
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator))
    await gateway.admin("EnableUser", user=admin.identity, user_id=account.user_id)
    assert (await log_in(gateway, authenticator)).token


@pytest.mark.parametrize("credential", ["", "{", "[]", "{}", '{"id": 1}', "x" * 20_000, "[" * 16_000])
async def test_malformed_credentials_are_refused(gateway: Gateway, credential: str) -> None:
    ceremony = await begin_login(gateway)
    fields = {"ceremony": ceremony.ceremony, "credential": credential}
    assert await is_refused("passkey_invalid", gateway.passkey("FinishPasskeyLogin", **fields))
    account = await gateway.account()
    ceremony = await begin(gateway, account)
    assert await is_refused("passkey_unusable", finish(gateway, account, ceremony.ceremony, credential))


async def test_a_ceremony_is_valid_once_and_for_its_purpose(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account)
    ceremony = await begin_login(gateway)
    fields = {"ceremony": ceremony.ceremony, "credential": authenticator.sign(ceremony.options)}
    # A failed attempt spends it too.
    rubbish = gateway.passkey("FinishPasskeyLogin", ceremony=ceremony.ceremony, credential="{}")
    assert await is_refused("passkey_invalid", rubbish)
    assert await is_refused("challenge_invalid", gateway.passkey("FinishPasskeyLogin", **fields))
    ceremony = await begin_login(gateway)
    fields = {"ceremony": ceremony.ceremony, "credential": authenticator.sign(ceremony.options)}
    assert (await gateway.passkey("FinishPasskeyLogin", **fields)).token
    assert await is_refused("challenge_invalid", gateway.passkey("FinishPasskeyLogin", **fields))
    # Refused for another purpose, with its hash, in another session, and after expiry.
    adding = await begin(gateway, account)
    fields = {"ceremony": adding.ceremony, "credential": authenticator.sign(adding.options)}
    assert await is_refused("challenge_invalid", gateway.passkey("FinishPasskeyLogin", **fields))
    proving = (await gateway.passkey("BeginPasskeyReauthentication", user=account.identity)).ceremony
    credential = new_authenticator().make(json.dumps(json.loads(adding.options) | json.loads(proving.options)))
    assert await is_refused("challenge_invalid", finish(gateway, account, proving.ceremony, credential))
    challenge = json.loads(adding.options)["challenge"]
    assert await is_refused("challenge_invalid", finish(gateway, account, f"rpk_{challenge}", "{}"))
    elsewhere = await gateway.sign_in_again(account)
    credential = new_authenticator().make(adding.options)
    assert await is_refused("challenge_invalid", finish(gateway, elsewhere, adding.ceremony, credential))
    # A later one replaces it; the later one has expired.
    later = await begin(gateway, account)
    assert await is_refused("challenge_invalid", finish(gateway, account, adding.ceremony, credential))
    await sql("UPDATE auth.passkey_challenges SET expires_at = now() WHERE session_id = :id", id=account.session_id)
    credential = new_authenticator().make(later.options)
    assert await is_refused("challenge_invalid", finish(gateway, account, later.ceremony, credential))


async def test_expired_ceremonies_are_deleted(gateway: Gateway, context: Context, sql: Any) -> None:
    await begin_login(gateway)
    await sql("UPDATE auth.passkey_challenges SET expires_at = now() - interval '1 s'")
    await maintenance.delete_expired(context.engine)
    assert await sql("SELECT 1 FROM auth.passkey_challenges") == []


async def test_a_regressed_counter_is_refused(gateway: Gateway) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account, sign_count=7)
    copy = authenticator.but()
    assert (await log_in(gateway, authenticator)).token
    assert await is_refused("passkey_invalid", log_in(gateway, copy))
    assert (await kinds(gateway, account))[0] == "passkey_counter_regressed"
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator.but(sign_count=0)))
    assert (await log_in(gateway, authenticator)).token


@pytest.mark.parametrize(
    ("lie", "changed"),
    [
        ({"origin": "https://evil.example"}, {}),
        ({"rp_id": "evil.example"}, {}),
        ({"flags": PRESENT}, {}),
        ({"flags": PRESENT | VERIFIED | SYNCED}, {}),
        ({"credential_id": b"short"}, {}),
        ({}, {"challenge": "AAAA"}),
        ({}, {"type": "webauthn.get"}),
    ],
)
async def test_an_invalid_registration_is_refused(
    gateway: Gateway, lie: dict[str, Any], changed: dict[str, str]
) -> None:
    account = await gateway.account()
    ceremony = await begin(gateway, account)
    credential = new_authenticator().but(**lie).make(ceremony.options, **changed)
    assert await is_refused("passkey_unusable", finish(gateway, account, ceremony.ceremony, credential))
    assert await passkeys(gateway, account) == []


async def test_a_passkey_belongs_to_one_account_and_an_account_has_at_most_ten(gateway: Gateway) -> None:
    account, other = await gateway.account(), await gateway.account()
    authenticator = await add(gateway, account)
    ceremony = await begin(gateway, other)
    again = authenticator.but().make(ceremony.options)
    assert await is_refused("passkey_taken", finish(gateway, other, ceremony.ceremony, again))
    waiting = await begin(gateway, account)
    elsewhere = await gateway.sign_in_again(account)
    for _ in range(9):
        await add(gateway, elsewhere)
    assert await is_refused("passkeys_too_many", begin(gateway, account))
    credential = new_authenticator().make(waiting.options)
    assert await is_refused("passkeys_too_many", finish(gateway, account, waiting.ceremony, credential))


async def test_owners_rename_and_remove_their_passkeys(gateway: Gateway, shift: Any, mailbox: Mailbox) -> None:
    account, other = await gateway.account(), await gateway.account()
    authenticator = await add(gateway, account)
    [passkey] = await passkeys(gateway, account)
    assert passkey.name == "Passkey"
    arguments = {"user": account.identity, "passkey_id": passkey.passkey_id}
    by_other = {"user": other.identity, "passkey_id": passkey.passkey_id}
    assert (await gateway.passkey("RenamePasskey", name=" Key ", **arguments)).passkey.name == "Key"
    for rpc, more in (("RenamePasskey", {"name": "x"}), ("RemovePasskey", {})):
        assert await is_refused("passkey_not_found", gateway.passkey(rpc, **by_other, **more))
    await shift(account.session_id, timedelta(minutes=11))
    assert await is_refused("reauthentication_required", gateway.passkey("RemovePasskey", **arguments))
    account = await gateway.sign_in_again(account)
    arguments["user"] = account.identity
    await gateway.passkey("RemovePasskey", **arguments)
    assert await is_refused("passkey_not_found", gateway.passkey("RemovePasskey", **arguments))
    assert (await kinds(gateway, account))[0] == "passkey_removed"
    assert (await mailbox.deliver(account, "notice", times=2))["Subject"] == "A passkey was removed"
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator))
    assert await is_refused("passkey_not_found", gateway.passkey("BeginPasskeyReauthentication", user=account.identity))


async def test_a_password_reset_removes_passkeys(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account)
    await gateway.auth("RequestPasswordReset", email=account.email, ip_address=account.ip_address)
    token = await mailbox.link(account, "reset")
    await gateway.auth("ResetPassword", token=token, password="marble-otter-kettle")
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator))
    again = await gateway.sign_in_again(account, password="marble-otter-kettle")
    assert "passkey_removed" in await kinds(gateway, again)


async def test_a_password_change_keeps_passkeys(gateway: Gateway) -> None:
    account = await gateway.account()
    authenticator = await add(gateway, account)
    change = {"current_password": PASSWORD, "new_password": "marble-otter-kettle"}
    await gateway.auth("ChangePassword", user=account.identity, ip_address=account.ip_address, **change)
    assert (await log_in(gateway, authenticator)).token


async def test_refused_passkeys_count_as_wrong_passwords_of_the_network(gateway: Gateway, sql: Any) -> None:
    account, network = await gateway.account(), new_address()
    authenticator = await add(gateway, account)
    assert await is_refused("passkey_invalid", log_in(gateway, authenticator.but(flags=PRESENT), network))
    [(count,)] = await sql("SELECT failures FROM auth.login_failures WHERE key = :key", key=f"address:{network}")
    assert count == 1
    await sql("UPDATE auth.login_failures SET failures = 100 WHERE key = :key", key=f"address:{network}")
    assert await is_refused("too_many_attempts", begin_login(gateway, network))
    assert await is_refused("too_many_attempts", log_in(gateway, authenticator, network))
    elsewhere = new_address()
    await begin_login(gateway, elsewhere)
    await sql("UPDATE auth.login_failures SET failures = 300 WHERE key = :key", key=f"ceremonies:{elsewhere}")
    assert await is_refused("too_many_attempts", begin_login(gateway, elsewhere))


async def test_calls_fail_where_passkeys_are_unavailable(
    context: Context, verifier: Any, gateway: Gateway, signer: Any
) -> None:
    account = await gateway.account()
    async with served(replace(context, relying_party=None), verifier) as channel:
        without = Gateway(channel, client.Caller(signer("gateway")))
        assert await is_refused("passkeys_unavailable", begin_login(without))
        assert await is_refused("passkeys_unavailable", begin(without, account))
        response = await without.passkey("ListPasskeys", user=account.identity)
        assert (list(response.passkeys), response.is_available) == ([], False)


@pytest.mark.parametrize(
    ("url", "domain", "expected"),
    [
        ("https://Repruv.example", "", ("repruv.example", "https://repruv.example")),
        ("https://app.repruv.example:443/", "repruv.example", ("repruv.example", "https://app.repruv.example")),
        ("http://localhost:8080", "", ("localhost", "http://localhost:8080")),
        ("http://127.0.0.1:8080", "", None),
        ("https://[::1]:8443", "", None),
        ("http://repruv.example", "", None),
    ],
)
def test_relying_party_of_an_address(url: str, domain: str, expected: tuple[str, str] | None) -> None:
    party = RelyingParty.from_url(url, domain)
    assert (party and (party.rp_id, party.origin)) == expected


@pytest.mark.parametrize("domain", ["example.org", "pruv.example", "www.repruv.example"])
def test_an_unrelated_passkey_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="must be the host"):
        RelyingParty.from_url("https://repruv.example", domain)
