"""The second factor: enabling, signing in, disabling, one-time codes, throttled guesses."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyotp
import pytest

from chassis import errors
from services.auth import domain, throttling
from services.auth.encryption.keyring import DecryptionFailed, Keyring
from services.auth.second_factor import codes
from tests.integration.auth.client import PASSWORD, Account, Gateway, new_address
from tests.integration.auth.mailbox import Mailbox

STALE = "UPDATE auth.second_factors SET last_step = last_step - 10 WHERE user_id = :id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """An account with a second factor; the code that turned it on is spent."""

    account: Account
    secret: str
    recovery_codes: list[str]
    token: str

    async def fresh_step(self) -> None:
        """Wait for the next step if the current one is about to end."""
        if (left := 30 - time.time() % 30) < 5:
            await asyncio.sleep(left)

    def code(self, *, steps: int = 0) -> str:
        """Return the code of the current step, or of another one."""
        return pyotp.TOTP(self.secret).at(int(time.time()) + 30 * steps)


async def begin(gateway: Gateway, account: Account) -> Any:
    return await gateway.auth("BeginTotp", user=account.identity)


@pytest.fixture
async def protected(gateway: Gateway, sql: Any) -> Protected:
    """Return an account with a second factor whose first code has expired."""
    account = await gateway.account()
    secret = (await begin(gateway, account)).secret
    enabled = await gateway.auth("ConfirmTotp", user=account.identity, code=pyotp.TOTP(secret).now())
    await sql(STALE, id=account.user_id)
    return Protected(account=account, secret=secret, recovery_codes=list(enabled.recovery_codes), token=enabled.token)


async def challenge(gateway: Gateway, protected: Protected, **fields: Any) -> str:
    answer = await gateway.login(protected.account.email, ip_address=protected.account.ip_address, **fields)
    assert (answer.token, answer.HasField("user"), answer.HasField("session")) == ("", False, False)
    assert answer.challenge.startswith("rpc_")
    return str(answer.challenge)


async def finish(gateway: Gateway, challenge: str, code: str) -> Any:
    return await gateway.auth("FinishLogin", challenge=challenge, code=code, ip_address=new_address())


async def test_confirmation_enables_the_factor_and_replaces_the_token(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    other = await gateway.sign_in_again(account)
    offered = await begin(gateway, account)
    assert offered.uri.startswith("otpauth://totp/Repruv:") and f"secret={offered.secret}" in offered.uri
    assert (await gateway.sign_in_again(account)).token  # no code is required yet
    enabled = await gateway.auth("ConfirmTotp", user=account.identity, code=pyotp.TOTP(offered.secret).now())
    assert len(set(enabled.recovery_codes)) == 10
    assert not await gateway.is_valid(account.token)
    validated = await gateway.validate(enabled.token)
    assert (validated.session.session_id, validated.user.has_second_factor) == (account.session_id, True)
    assert await gateway.is_valid(other.token)
    assert (await mailbox.deliver(account, "notice"))["Subject"] == "Two-step verification is on"
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await begin(gateway, account)
    assert excinfo.value.code == "second_factor_enabled"


async def test_neither_a_wrong_code_nor_an_expired_secret_confirms(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await gateway.auth("ConfirmTotp", user=account.identity, code="000000")
    assert excinfo.value.code == "second_factor_not_begun"
    offered = await begin(gateway, account)
    with pytest.raises(errors.Unauthenticated) as wrong:
        await gateway.auth("ConfirmTotp", user=account.identity, code="no code")
    assert (wrong.value.code, wrong.value.field) == ("invalid_code", "code")
    await sql(
        "UPDATE auth.second_factors SET confirm_before = confirm_before - interval '10 minutes' WHERE user_id = :id",
        id=account.user_id,
    )
    with pytest.raises(errors.FailedPrecondition):
        await gateway.auth("ConfirmTotp", user=account.identity, code=pyotp.TOTP(offered.secret).now())


async def test_beginning_again_replaces_the_secret(gateway: Gateway) -> None:
    account = await gateway.account()
    first, second = (await begin(gateway, account)).secret, (await begin(gateway, account)).secret
    assert first != second
    with pytest.raises(errors.Unauthenticated):
        await gateway.auth("ConfirmTotp", user=account.identity, code=pyotp.TOTP(first).now())
    await gateway.auth("ConfirmTotp", user=account.identity, code=pyotp.TOTP(second).now())


async def test_signing_in_requires_a_code(gateway: Gateway, protected: Protected) -> None:
    login = await finish(gateway, await challenge(gateway, protected, remember=True), protected.code())
    validated = await gateway.validate(login.token)
    assert validated.user.user_id == protected.account.user_id
    assert validated.session.is_remembered


@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_a_clock_may_be_off_by_one_step(gateway: Gateway, protected: Protected, steps: int) -> None:
    login_challenge = await challenge(gateway, protected)
    await protected.fresh_step()  # the code of the step before must still be that when it arrives
    assert await finish(gateway, login_challenge, protected.code(steps=steps))


@pytest.mark.parametrize("steps", [-3, 3])
async def test_a_clock_may_not_be_off_by_more(gateway: Gateway, protected: Protected, steps: int) -> None:
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await finish(gateway, await challenge(gateway, protected), protected.code(steps=steps))
    assert (excinfo.value.code, excinfo.value.field) == ("invalid_code", "code")


async def test_a_code_works_once(gateway: Gateway, protected: Protected) -> None:
    code = protected.code(steps=1)
    assert await finish(gateway, await challenge(gateway, protected), code)
    for late in (code, protected.code()):  # nor does a code of an earlier step
        with pytest.raises(errors.Unauthenticated):
            await finish(gateway, await challenge(gateway, protected), late)


async def test_concurrent_uses_of_a_code_succeed_once(gateway: Gateway, protected: Protected) -> None:
    code = protected.code()
    challenges = [await challenge(gateway, protected) for _ in range(4)]
    answers = await asyncio.gather(*(finish(gateway, login, code) for login in challenges), return_exceptions=True)
    refusals = [answer.code for answer in answers if isinstance(answer, errors.Error)]
    assert refusals == ["invalid_code"] * 3


async def test_a_recovery_code_works_once_in_any_spelling(gateway: Gateway, protected: Protected) -> None:
    first, second = protected.recovery_codes[:2]
    assert await finish(gateway, await challenge(gateway, protected), f" {first.upper().replace('-', ' ')} ")
    with pytest.raises(errors.Unauthenticated):
        await finish(gateway, await challenge(gateway, protected), first)
    assert await finish(gateway, await challenge(gateway, protected), second.replace("-", ""))
    account = protected.account
    security = await gateway.auth("GetSecurity", user=account.identity)
    assert security.recovery_codes_left == 8
    assert [event.kind for event in security.events].count("recovery_code_used") == 2


async def test_a_challenge_is_valid_for_one_session(gateway: Gateway, protected: Protected) -> None:
    login_challenge = await challenge(gateway, protected)
    answers = await asyncio.gather(
        *(finish(gateway, login_challenge, code) for code in protected.recovery_codes[:4]), return_exceptions=True
    )
    refusals = [answer.code for answer in answers if isinstance(answer, errors.Error)]
    assert refusals == ["challenge_invalid"] * 3
    security = await gateway.auth("GetSecurity", user=protected.account.identity)
    assert security.recovery_codes_left == 9


async def test_a_challenge_has_five_tries_even_concurrently(gateway: Gateway, protected: Protected) -> None:
    login_challenge = await challenge(gateway, protected)
    answers = await asyncio.gather(
        *(finish(gateway, login_challenge, "aaaaa-aaaaa") for _ in range(8)), return_exceptions=True
    )
    codes_ = sorted(answer.code for answer in answers if isinstance(answer, errors.Error))
    assert codes_ == ["challenge_invalid"] * 3 + ["invalid_code"] * 5
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await finish(gateway, login_challenge, protected.code())
    assert excinfo.value.code == "challenge_invalid"


async def test_a_challenge_expires_after_five_minutes(gateway: Gateway, protected: Protected, sql: Any) -> None:
    login_challenge = await challenge(gateway, protected)
    await sql(
        "UPDATE auth.login_challenges SET expires_at = expires_at - interval '5 minutes' WHERE user_id = :id",
        id=protected.account.user_id,
    )
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await finish(gateway, login_challenge, protected.code())
    assert excinfo.value.code == "challenge_invalid"


@pytest.mark.parametrize("login_challenge", ["", "rpc_" + "x" * 43, "rpv_" + "x" * 43, "\x00", "x" * 10_000])
async def test_an_unknown_challenge_is_invalid(gateway: Gateway, login_challenge: str) -> None:
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await finish(gateway, login_challenge, "000000")
    assert excinfo.value.code == "challenge_invalid"


async def test_guesses_are_blocked_across_challenges_and_networks(gateway: Gateway, protected: Protected) -> None:
    for _ in range(throttling.CODES_PER_ACCOUNT // 5):
        login_challenge = await challenge(gateway, protected)
        for _ in range(5):
            with pytest.raises(errors.Unauthenticated):
                await finish(gateway, login_challenge, "aaaaa-aaaaa")
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await finish(gateway, await challenge(gateway, protected), protected.code())
    assert excinfo.value.code == "too_many_attempts"


async def test_a_changed_password_voids_challenges(gateway: Gateway, protected: Protected) -> None:
    login_challenge = await challenge(gateway, protected)
    await gateway.auth(
        "ChangePassword",
        user=protected.account.identity,
        current_password=PASSWORD,
        new_password="orchid-lantern-gravel",
    )
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await finish(gateway, login_challenge, protected.code())
    assert excinfo.value.code == "challenge_invalid"


async def test_reauthentication_requires_a_code(gateway: Gateway, protected: Protected) -> None:
    account = protected.account
    for code in ("", "aaaaa-aaaaa"):
        with pytest.raises(errors.Unauthenticated) as excinfo:
            await gateway.auth("Reauthenticate", user=account.identity, password=PASSWORD, code=code)
        assert excinfo.value.code == "invalid_code"
    assert await gateway.is_valid(protected.token)
    assert await gateway.auth("Reauthenticate", user=account.identity, password=PASSWORD, code=protected.code())
    assert not await gateway.is_valid(protected.token)


async def test_disabling_requires_a_code_and_replaces_the_token(gateway: Gateway, protected: Protected) -> None:
    account = protected.account
    with pytest.raises(errors.Unauthenticated):
        await gateway.auth("DisableTotp", user=account.identity, code="000000")
    login_challenge = await challenge(gateway, protected)
    disabled = await gateway.auth("DisableTotp", user=account.identity, code=protected.recovery_codes[0])
    assert not await gateway.is_valid(protected.token)
    assert not (await gateway.validate(disabled.token)).user.has_second_factor
    with pytest.raises(errors.Unauthenticated):
        await finish(gateway, login_challenge, protected.code())
    assert (await gateway.sign_in_again(account)).token
    for rpc, fields in (("DisableTotp", {"code": "000000"}), ("RegenerateRecoveryCodes", {})):
        with pytest.raises(errors.FailedPrecondition) as excinfo:
            await gateway.auth(rpc, user=account.identity, **fields)
        assert excinfo.value.code == "second_factor_not_enabled"


async def test_new_recovery_codes_void_the_old_ones(gateway: Gateway, protected: Protected, mailbox: Mailbox) -> None:
    response = await gateway.auth("RegenerateRecoveryCodes", user=protected.account.identity)
    notice = await mailbox.deliver(protected.account, "notice", times=2)
    assert notice["Subject"] == "Your recovery codes were replaced"
    assert not set(response.recovery_codes) & set(protected.recovery_codes)
    with pytest.raises(errors.Unauthenticated):
        await finish(gateway, await challenge(gateway, protected), protected.recovery_codes[0])
    assert await finish(gateway, await challenge(gateway, protected), response.recovery_codes[0])


async def test_a_reset_keeps_the_factor_of_a_verified_address(
    gateway: Gateway, protected: Protected, mailbox: Mailbox, sql: Any
) -> None:
    account = protected.account
    await sql("UPDATE auth.users SET email_verified_at = now() WHERE user_id = :id", id=account.user_id)
    await gateway.auth("RequestPasswordReset", email=account.email)
    await gateway.auth("ResetPassword", token=await mailbox.link(account, "reset"), password=PASSWORD)
    assert await challenge(gateway, protected)


async def test_a_reset_removes_the_factor_of_an_unverified_address(
    gateway: Gateway, protected: Protected, mailbox: Mailbox
) -> None:
    account = protected.account
    await gateway.auth("RequestPasswordReset", email=account.email)
    await gateway.auth("ResetPassword", token=await mailbox.link(account, "reset"), password=PASSWORD)
    assert (await gateway.sign_in_again(account)).token


async def test_neither_secret_nor_codes_are_stored_in_clear(protected: Protected, sql: Any, keyring: Keyring) -> None:
    user_id = protected.account.user_id
    [(sealed,)] = await sql("SELECT sealed_secret FROM auth.second_factors WHERE user_id = :id", id=user_id)
    assert protected.secret.encode() not in sealed
    assert keyring.decrypt(sealed, associated_data=codes.associated_data(uuid.UUID(user_id))) == protected.secret
    with pytest.raises(DecryptionFailed):
        keyring.decrypt(sealed, associated_data=codes.associated_data(uuid.uuid4()))
    hashes = {
        bytes(row.code_hash)
        for row in await sql("SELECT code_hash FROM auth.recovery_codes WHERE user_id = :id", id=user_id)
    }
    assert hashes == {codes.recovery_hash(protected.secret, code) for code in protected.recovery_codes}


async def test_new_password_alone_is_no_proof_for_an_account_with_a_second_factor(
    gateway: Gateway, protected: Protected, shift: Any
) -> None:
    account = protected.account
    identity = (await gateway.validate(protected.token)).identity
    await shift(account.session_id, domain.FRESH_FOR + timedelta(seconds=1))
    changed = await gateway.auth(
        "ChangePassword", user=identity, current_password=PASSWORD, new_password="orchid-lantern-gravel"
    )
    assert not await gateway.is_valid(protected.token)
    identity = (await gateway.validate(changed.token)).identity
    for call in (
        gateway.auth("RegenerateRecoveryCodes", user=identity),
        gateway.passkey("BeginAddPasskey", user=identity),
    ):
        with pytest.raises(errors.PermissionDenied) as excinfo:
            await call
        assert excinfo.value.code == "reauthentication_required"
    await protected.fresh_step()
    proof = {"password": "orchid-lantern-gravel", "code": protected.code()}
    proved = await gateway.auth("Reauthenticate", user=identity, **proof)
    identity = (await gateway.validate(proved.token)).identity
    assert await gateway.auth("RegenerateRecoveryCodes", user=identity)
