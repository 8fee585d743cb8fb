"""Limits of the changes that send emails: an account may have the address of a stranger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pyotp
import pytest

from chassis import errors
from services.auth import throttling
from tests.integration.auth import test_passkeys as passkeys
from tests.integration.auth.client import PASSWORD, Account, Gateway

Change = Callable[[Gateway, Account], Awaitable[object]]


async def delete_and_keep(gateway: Gateway, account: Account) -> None:
    await gateway.auth("RequestDeletion", user=account.identity, email=account.email)
    await gateway.auth("CancelDeletion", user=account.identity)


async def add_and_remove_a_passkey(gateway: Gateway, account: Account) -> None:
    await passkeys.add(gateway, account)
    [added] = await passkeys.passkeys(gateway, account)
    await gateway.passkey("RemovePasskey", user=account.identity, passkey_id=added.passkey_id)


async def enable(gateway: Gateway, account: Account) -> str:
    """Turn the second factor on; return a recovery code."""
    secret = (await gateway.auth("BeginTotp", user=account.identity)).secret
    enabled = await gateway.auth("ConfirmTotp", user=account.identity, code=pyotp.TOTP(secret).now())
    return str(enabled.recovery_codes[0])


async def turn_the_second_factor_on_and_off(gateway: Gateway, account: Account) -> None:
    await gateway.auth("DisableTotp", user=account.identity, code=await enable(gateway, account))


async def replace_the_recovery_codes(gateway: Gateway, account: Account) -> None:
    security = await gateway.auth("GetSecurity", user=account.identity)
    if not security.user.has_second_factor:
        await enable(gateway, account)
    await gateway.auth("RegenerateRecoveryCodes", user=account.identity)


async def change_the_password(gateway: Gateway, account: Account) -> None:
    await gateway.auth("ChangePassword", user=account.identity, current_password=PASSWORD, new_password=PASSWORD)


@pytest.mark.parametrize(
    "change",
    [
        delete_and_keep,
        add_and_remove_a_passkey,
        turn_the_second_factor_on_and_off,
        replace_the_recovery_codes,
        change_the_password,
    ],
)
async def test_changes_that_send_emails_are_limited(gateway: Gateway, change: Change) -> None:
    account, other = await gateway.account(), await gateway.account()
    for _ in range(throttling.CHANGES_PER_ACCOUNT):
        await change(gateway, account)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await change(gateway, account)
    assert (excinfo.value.code, int(excinfo.value.details["retry_after_seconds"]) > 0) == ("too_many_attempts", True)
    await change(gateway, other)
