"""Proofs of who somebody is: a password that is looked at without a flood, a code that counts once."""

from __future__ import annotations

import uuid
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain, throttling
from services.auth.accounts import validation
from services.auth.context import Context
from services.auth.encryption.keyring import Keyring
from services.auth.second_factor import codes
from services.auth.second_factor import storage as factor_storage


class Spent(StrEnum):
    """What kind of code was right."""

    APP = "app"
    RECOVERY = "recovery"


async def is_password(context: Context, password_hash: str | None, password: str, limits: throttling.Limits) -> bool:
    """Say whether a password is the one of a hash; for None it never is, and takes as long. Counts nothing.

    Raises `TooManyAttempts` before any work, and `TooBusy`. Who lets somebody in looks at the limits again, with the account
    locked: guesses made at the same time have been counted meanwhile, so no burst gets more of them.
    """
    async with context.reading().connect() as conn:
        await throttling.refuse_if_blocked(conn, limits)
    if len(password) > validation.PASSWORD_LENGTHS[1]:
        password = ""  # never right, and not worth hashing at any length
    return await context.passwords.verify(password_hash, password)


async def spend_code(conn: AsyncConnection, keyring: Keyring, user_id: uuid.UUID, code: str) -> Spent | None:
    """Spend a code of the app or a recovery code; None if it is not right, which is counted.

    The caller has locked the account, so guesses come one after the other, and commits even if it refuses.
    Raises `TooManyAttempts`, and `SecondFactorNotEnabled`.
    """
    limits = throttling.of_codes(user_id)
    await throttling.refuse_if_blocked(conn, limits)
    factor = await factor_storage.get_factor(conn, user_id)
    if factor is None or factor.enabled_at is None:
        raise domain.SecondFactorNotEnabled()
    cleaned = validation.clean_code(code)
    secret = keyring.decrypt(factor.sealed_secret, associated_data=codes.associated_data(user_id))
    spent: Spent | None = None
    if codes.is_recovery(cleaned):
        if await factor_storage.spend_recovery_code(conn, user_id, codes.recovery_hash(secret, cleaned)):
            spent = Spent.RECOVERY
    else:
        step = codes.matching_step(secret, cleaned, now=factor.now)
        if step is not None and await factor_storage.spend_step(conn, user_id, step):
            spent = Spent.APP
    if spent is not None:
        await throttling.forget(conn, limits)
    elif cleaned:  # no code at all is no guess
        await throttling.count_attempt(conn, limits)
    return spent
